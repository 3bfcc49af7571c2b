import { tenantTables } from "@cell/postgres";
import type { ColumnType, Generated, GeneratedAlways } from "kysely";

/** A decimal: read as a text, since a number would not hold it exactly. */
export type Decimal = ColumnType<string, string | number, string | number>;

/** The columns of the tenants' tables, in the names that they have on the wire (in SQL: snake_case). */
export interface Tables {
  customers: CustomersTable;
  contacts: ContactsTable;
  pipelines: PipelinesTable;
  pipelineStages: PipelineStagesTable;
  opportunities: OpportunitiesTable;
  opportunityHistory: OpportunityHistoryTable;
  contracts: ContractsTable;
  payments: PaymentsTable;
  imports: ImportsTable;
  importBatches: ImportBatchesTable;
  importFailures: ImportFailuresTable;
  lookups: LookupsTable;
}

export interface CustomersTable {
  customerId: string;
  name: string;
  /** `nameKey(name)`: unique among the live ones. */
  nameKey: string;
  contactName: string | null;
  contactPhone: string | null;
  contactEmail: string | null;
  industry: string | null;
  level: string | null;
  source: string | null;
  status: string;
  ownerId: string;
  address: string | null;
  tags: string[];
  notes: string | null;
  customFields: Record<string, unknown>;
  /** The survivor, where this one was merged away. */
  mergedInto: string | null;
  /** The import that created it. */
  importId: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: what `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

export interface ContactsTable {
  contactId: string;
  customerId: string;
  name: string;
  title: string | null;
  phone: string | null;
  email: string | null;
  isPrimary: boolean;
  notes: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: what `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

export interface LookupsTable {
  userId: string;
  /** When the user looked something up, of the last minute at least. */
  times: string[];
}

export interface PipelinesTable {
  pipelineId: string;
  name: string;
  /** True for exactly one. */
  isDefault: boolean;
  createdAt: string;
  updatedAt: string;
  version: number;
}

export type StageType = "open" | "won" | "lost";

export interface PipelineStagesTable {
  pipelineId: string;
  /** A slug, unique in its pipeline. */
  stage: string;
  name: string;
  type: StageType;
  probability: Decimal;
  /** Its place in the order, from 1. */
  position: number;
  /** False for a stage that was removed: histories still speak of it. */
  active: boolean;
  /** Its bit in a mask of stages, from 0: numbered in the pipeline for good. */
  number: number;
}

export interface OpportunitiesTable {
  opportunityId: string;
  customerId: string;
  name: string;
  amount: string;
  currency: string;
  pipelineId: string;
  stage: string;
  /** The stage's type. */
  status: StageType;
  probability: Decimal;
  probabilityOverridden: boolean;
  expectedCloseDate: string | null;
  ownerId: string;
  lostReason: string | null;
  closedAt: string | null;
  stageEnteredAt: string;
  /** The number of its last row of history. */
  historySeq: number;
  /** The stages of its pipeline that it has been in: a mask of their numbers. */
  entered: string;
  /** The number of the last one of them that was no lost one; null where it was in none. */
  lastStage: number | null;
  importId: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: true or null. Part of the key to the stage, which so holds live ones alone. */
  live: GeneratedAlways<true | null>;
  /** Generated: what `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

/** What an opportunity was from `at` on, in all that a report depends on. Rows are only ever added. */
export interface OpportunityHistoryTable {
  opportunityId: string;
  /** From 1, without gaps; `at` never decreases along it. */
  seq: number;
  /** It entered a stage here: these rows are its stage history. */
  moved: boolean;
  fromStage: string | null;
  /** The rest of the stay that ended here; null for the first arrival. */
  fromPipelineId: string | null;
  fromStageType: StageType | null;
  fromEnteredAt: string | null;
  /** Its last arrival in this stage before, while that was an open one; null where there is none. */
  arrivedBeforeAt: string | null;
  pipelineId: string;
  stage: string;
  stageType: StageType;
  amount: string;
  currency: string;
  probability: Decimal;
  expectedCloseDate: string | null;
  closedAt: string | null;
  ownerId: string;
  customerId: string;
  deleted: boolean;
  at: string;
  actorId: string;
  requestId: string;
}

export interface ContractsTable {
  contractId: string;
  customerId: string;
  opportunityId: string | null;
  number: string;
  /** `nameKey(number)`: unique among the live ones. */
  numberKey: string;
  name: string;
  amount: string;
  currency: string;
  status: string;
  signedAt: string | null;
  startDate: string | null;
  endDate: string | null;
  /** The sum of its payments: written with each of them. */
  receivedAmount: Generated<string>;
  /** Generated from the two amounts, as are the next two. */
  outstandingAmount: GeneratedAlways<string>;
  paidRatio: GeneratedAlways<string>;
  overpaid: GeneratedAlways<boolean>;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: what `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

export interface PaymentsTable {
  paymentId: string;
  contractId: string;
  /** The contract's. */
  customerId: string;
  amount: string;
  currency: string;
  paidAt: string;
  method: string | null;
  reference: string | null;
  /** `nameKey(reference)`: unique on its contract among those that are not void. */
  referenceKey: string | null;
  kind: string;
  status: string;
  overpaid: boolean;
  notes: string | null;
  /** Why it was made void. */
  voidReason: string | null;
  createdAt: string;
  updatedAt: string;
  version: number;
  /** Generated: what `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

export interface ImportsTable {
  importId: string;
  /** What it imports, as in the audit trail. */
  resourceType: string;
  status: ImportStatus;
  /** What is being done: rows are only checked (atomic imports, first), applied, or taken back. */
  phase: "check" | "apply" | "revert";
  actorId: string;
  options: unknown;
  /** Who asked for it, by which request: for the audit entries that come after the answer. */
  origin: unknown;
  /** The header of the upload. */
  columns: Generated<unknown>;
  total: Generated<number>;
  done: Generated<number>;
  created: Generated<number>;
  updated: Generated<number>;
  skipped: Generated<number>;
  failed: Generated<number>;
  errors: Generated<unknown>;
  errorsTruncated: Generated<boolean>;
  /** How much is kept of the rows that failed by what was stored. */
  failedRowBytes: Generated<number>;
  /** Some rows that failed are not kept. */
  failedRowsTruncated: Generated<boolean>;
  reverted: Generated<number>;
  /** Records that were left alone by the revert, with the reason. */
  kept: Generated<unknown>;
  /** The audit entry up to which the revert has come. */
  revertSeq: Generated<number>;
  revertOrigin: unknown;
  /** Its rows are gone. */
  swept: Generated<boolean>;
  createdAt: string;
  finishedAt: string | null;
}

export type ImportStatus = "receiving" | "queued" | "running" | "completed" | "failed" | "reverted";

/** The rows of uploads that are to be carried out, in their order: until a day after the import. */
export interface ImportBatchesTable {
  importId: string;
  firstRow: number;
  lastRow: number;
  /** Rows between these that are skipped, and that failed, whatever is stored already. */
  skipped: number;
  failed: number;
  /** JSON: what the other rows say. */
  rows: string;
  /** JSON: the cells of these rows as they came. */
  cells: string;
}

/** The rows of uploads that failed: until a day after the import. */
export interface ImportFailuresTable {
  importId: string;
  row: number;
  line: number | null;
  /** The cells as they came, in the order of the header. */
  cells: unknown;
  errors: unknown;
  /** Whether the upload alone tells that it fails, whatever is stored already. */
  byItself: boolean;
}

/** The builder of this cell's statements. */
export const db = tenantTables<Tables>();
