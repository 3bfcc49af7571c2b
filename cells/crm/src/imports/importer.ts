import type { AuditDraft, FieldChange, SensitiveKind } from "@cell/cell";
import type { TenantDb, TenantTx } from "@cell/postgres";

export const importModes = ["create", "upsert", "update"] as const;
export const duplicatePolicies = ["error", "skip", "update"] as const;

/** Options of an import. */
export interface ImportOptions {
  mode: (typeof importModes)[number];
  /** The field that identifies existing records; undefined: the id if a row has one, else the name. */
  matchBy: string | undefined;
  onDuplicate: (typeof duplicatePolicies)[number];
  dryRun: boolean;
  atomic: boolean;
}

/** The user who imports. */
export interface ImportActor {
  userId: string;
  /** Limited to its own records. */
  ownOnly: boolean;
  /** The sensitive kinds that it may read; default: none. */
  readable?: readonly SensitiveKind[];
}

/** A problem of a row. */
export interface RowProblem {
  /** The column; null for the whole row. */
  field: string | null;
  code: string;
  message: string;
  /** The earlier row of the same upload (by number), or the existing record (by id). */
  duplicateOf: number | string | null;
}

/** A column that an upload may have. */
export interface ImportColumn {
  /** Other headings of the same column. */
  aliases: readonly string[];
  /** How a cell represents a value: unchanged, as texts separated by `;`, as a boolean, or as JSON. */
  form: "text" | "list" | "boolean" | "json";
  /** Accepted because exports have it, but ignored. */
  ignored?: true;
}

/** A row, validated by itself. */
export type ReadRow<Data> =
  | {
      data: Data;
      nameKey: string | null;
      idKey: string | null;
      /** Number of database rows that it writes beside its record's own, such as a stage history. */
      furtherWrites?: number;
    }
  | { problems: RowProblem[] };

export interface Row<Data> {
  row: number;
  data: Data;
}

export type RowOutcome =
  | { row: number; outcome: "created" | "updated"; audit: AuditDraft }
  | { row: number; outcome: "skipped" }
  | { row: number; outcome: "failed"; problems: RowProblem[] };

export interface ImportContext {
  importId: string;
  options: ImportOptions;
  actor: ImportActor;
  /** RFC 3339 */
  now: string;
  requestId: string;
}

/** An import's change of one record, from the audit trail. */
export interface ImportedChange {
  seq: number;
  resourceId: string;
  action: string;
  resourceVersion: number;
  changes: FieldChange[];
}

/** The user, request and time of a revert. */
export interface RevertContext {
  now: string;
  actorId: string;
  requestId: string;
}

export interface RevertOutcome {
  audit: AuditDraft[];
  /** Records that were not changed. */
  kept: { id: string; reason: string }[];
}

/** The planned outcome of a row; importers add what it needs. */
export interface Plan {
  outcome: RowOutcome;
}

/** What imports need from a resource. Known: the stored records that rows refer to. */
export interface Importer<Data = unknown, Known = unknown, Planned extends Plan = Plan> {
  /** As in the audit trail. */
  type: string;
  /** The path of its collection. */
  path: string;
  columns: Readonly<Record<string, ImportColumn>>;
  /** The kinds of its sensitive fields. */
  sensitive: Readonly<Record<string, SensitiveKind>>;
  /** Example rows for the document, all with the same columns. */
  examples: readonly Readonly<Record<string, string>>[];
  /** The fields that must be unique within one upload. */
  keys: { name: string; id: string };
  /** Validates one row by itself; returns all problems. */
  read(item: Readonly<Record<string, unknown>>, options: ImportOptions, actor: ImportActor): ReadRow<Data>;
  /** Looks up everything that rows refer to. */
  lookUp(tx: TenantTx, rows: readonly Row<Data>[], actor: ImportActor): Promise<Known>;
  /** Plans the outcome of valid rows: one plan each. */
  plan(rows: readonly Row<Data>[], known: Known, context: ImportContext): Planned[];
  /** Carries out plans. Resolves to the rows that another request changed first: these have to be looked up and planned again. */
  write(tx: TenantTx, plans: readonly Planned[], importId: string): Promise<ReadonlySet<number>>;
  /** Those of these records that belong to an owner; includes deleted ones. */
  ownedBy(tenant: TenantDb, ids: readonly string[], userId: string): Promise<string[]>;
  /** Reverts an import's changes in records that have not changed since. */
  revert(tx: TenantTx, changes: readonly ImportedChange[], by: RevertContext): Promise<RevertOutcome>;
}
