import { tenantTables } from "@cell/postgres";
import type { ColumnType, Generated, GeneratedAlways } from "kysely";

/** A decimal: read as a text, since a number would not hold it exactly. */
export type Decimal = ColumnType<string, string | number, string | number>;

/** The columns of the tenants' tables, by their API names (in SQL: snake_case). */
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
  /** `nameKey(name)`: unique among live records. */
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
  /** The survivor, if this one was merged. */
  mergedInto: string | null;
  /** The import that created it. */
  importId: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: the text that `keyword` searches, folded. */
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
  /** Generated: the text that `keyword` searches, folded. */
  search: GeneratedAlways<string>;
}

export interface LookupsTable {
  userId: string;
  /** Times of the user's lookups, at least of the last minute. */
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
  /** Position in the order, from 1. */
  position: number;
  /** False for a removed stage, which histories still refer to. */
  active: boolean;
  /** Its bit in a mask of stages, from 0; never reused in the pipeline. */
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
  /** The number of its last history row. */
  historySeq: number;
  /** The stages of its pipeline that it has been in, as a mask of their numbers. */
  entered: string;
  /** The number of the last one that is not a lost stage; null if there was none. */
  lastStage: number | null;
  importId: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: true or null. Part of the key to the stage, which therefore covers only live ones. */
  live: GeneratedAlways<true | null>;
  /** Generated: the text that `keyword` searches, folded. */
  search: GeneratedAlways<string>;
}

/** What an opportunity was from `at` on, in every field that reports depend on. Append-only. */
export interface OpportunityHistoryTable {
  opportunityId: string;
  /** From 1, without gaps; `at` never decreases with it. */
  seq: number;
  /** It entered a stage: these rows are its stage history. */
  moved: boolean;
  fromStage: string | null;
  /** Describes the previous stage; null for the first arrival. */
  fromPipelineId: string | null;
  fromStageType: StageType | null;
  fromEnteredAt: string | null;
  /** Its last arrival in this stage before, if it is an open stage; null if there is none. */
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
  /** `nameKey(number)`: unique among live records. */
  numberKey: string;
  name: string;
  amount: string;
  currency: string;
  status: string;
  signedAt: string | null;
  startDate: string | null;
  endDate: string | null;
  /** The sum of its payments, written with each of them. */
  receivedAmount: Generated<string>;
  /** Generated from the two amounts, like the next two. */
  outstandingAmount: GeneratedAlways<string>;
  paidRatio: GeneratedAlways<string>;
  overpaid: GeneratedAlways<boolean>;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: the text that `keyword` searches, folded. */
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
  /** `nameKey(reference)`: unique on its contract among payments that are not void. */
  referenceKey: string | null;
  kind: string;
  status: string;
  overpaid: boolean;
  notes: string | null;
  /** Why it was voided. */
  voidReason: string | null;
  createdAt: string;
  updatedAt: string;
  version: number;
  /** Generated: the text that `keyword` searches, folded. */
  search: GeneratedAlways<string>;
}

export interface ImportsTable {
  importId: string;
  /** The imported resource, as in the audit trail. */
  resourceType: string;
  status: ImportStatus;
  /** The current work: rows are only checked (atomic imports, first), applied, or reverted. */
  phase: "check" | "apply" | "revert";
  actorId: string;
  options: unknown;
  /** The user and request, for audit entries after the response. */
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
  /** Stored bytes of the rows that failed because of stored data. */
  failedRowBytes: Generated<number>;
  /** Some failed rows are not stored. */
  failedRowsTruncated: Generated<boolean>;
  reverted: Generated<number>;
  /** Records that the revert did not change, with the reason. */
  kept: Generated<unknown>;
  /** The audit entry up to which the revert has come. */
  revertSeq: Generated<number>;
  revertOrigin: unknown;
  /** Its rows were deleted. */
  swept: Generated<boolean>;
  createdAt: string;
  finishedAt: string | null;
}

export type ImportStatus = "receiving" | "queued" | "running" | "completed" | "failed" | "reverted";

/** The rows of uploads to carry out, in order; deleted a day after the import. */
export interface ImportBatchesTable {
  importId: string;
  firstRow: number;
  lastRow: number;
  /** Rows between these that are skipped, and that fail whatever is stored. */
  skipped: number;
  failed: number;
  /** JSON of the other rows. */
  rows: string;
  /** JSON of these rows' original cells. */
  cells: string;
}

/** The failed rows of uploads; deleted a day after the import. */
export interface ImportFailuresTable {
  importId: string;
  row: number;
  line: number | null;
  /** The original cells, in the order of the header. */
  cells: unknown;
  errors: unknown;
  /** Whether it fails by itself, whatever is stored. */
  byItself: boolean;
}

/** The builder of this cell's statements. */
export const db = tenantTables<Tables>();
