import type { AuditDraft, FieldChange, SensitiveKind } from "@cell/cell";
import type { TenantDb, TenantTx } from "@cell/postgres";

export const importModes = ["create", "upsert", "update"] as const;
export const duplicatePolicies = ["error", "skip", "update"] as const;

/** How the rows of an import are to be taken. */
export interface ImportOptions {
  mode: (typeof importModes)[number];
  /** The field by which existing records are found; undefined: the id where a row has one, else the name. */
  matchBy: string | undefined;
  onDuplicate: (typeof duplicatePolicies)[number];
  dryRun: boolean;
  atomic: boolean;
}

/** Who imports. */
export interface ImportActor {
  userId: string;
  /** Works on its own records alone. */
  ownOnly: boolean;
  /** The kinds of sensitive values that it may read; none where an import does not say. */
  readable?: readonly SensitiveKind[];
}

/** What is wrong with a row. */
export interface RowProblem {
  /** The column; null where it is the row as a whole. */
  field: string | null;
  code: string;
  message: string;
  /** The row of the same upload (its number), or the record (its id), that was there first. */
  duplicateOf: number | string | null;
}

/** A column that an upload may have. */
export interface ImportColumn {
  /** Other headings that it is known by. */
  aliases: readonly string[];
  /** How a cell stands for a value: as it is, as texts separated by `;`, as a truth value, or as JSON. */
  form: "text" | "list" | "boolean" | "json";
  /** Taken, since exports have it, but without a meaning here. */
  ignored?: true;
}

/** A row as its values alone say. */
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

/** What an import did to one record, as the audit trail tells. */
export interface ImportedChange {
  seq: number;
  resourceId: string;
  action: string;
  resourceVersion: number;
  changes: FieldChange[];
}

/** Who takes an import back, by which request and when. */
export interface RevertContext {
  now: string;
  actorId: string;
  requestId: string;
}

export interface RevertOutcome {
  audit: AuditDraft[];
  /** Records that were left alone. */
  kept: { id: string; reason: string }[];
}

/** What is to become of a row; an importer adds what that takes. */
export interface Plan {
  outcome: RowOutcome;
}

/** What the imports have to know of a resource. Known: what is stored that rows are about. */
export interface Importer<Data = unknown, Known = unknown, Planned extends Plan = Plan> {
  /** As in the audit trail. */
  type: string;
  /** The path of its collection. */
  path: string;
  columns: Readonly<Record<string, ImportColumn>>;
  /** The kinds of its sensitive fields. */
  sensitive: Readonly<Record<string, SensitiveKind>>;
  /** Rows for the document, with the same columns each. */
  examples: readonly Readonly<Record<string, string>>[];
  /** The fields that must not occur twice in one upload. */
  keys: { name: string; id: string };
  /** Checks one row by itself; every problem is told. */
  read(item: Readonly<Record<string, unknown>>, options: ImportOptions, actor: ImportActor): ReadRow<Data>;
  /** Looks up all that rows are about. */
  lookUp(tx: TenantTx, rows: readonly Row<Data>[], actor: ImportActor): Promise<Known>;
  /** Finds out what is to become of rows that are valid by themselves: one plan for each. */
  plan(rows: readonly Row<Data>[], known: Known, context: ImportContext): Planned[];
  /** Carries out plans. Resolves to the rows for which someone else was faster: those are to be looked up and planned again. */
  write(tx: TenantTx, plans: readonly Planned[], importId: string): Promise<ReadonlySet<number>>;
  /** Those of these records, deleted ones too, that someone owns. */
  ownedBy(tenant: TenantDb, ids: readonly string[], userId: string): Promise<string[]>;
  /** Takes back what an import did, where nobody has touched it since. */
  revert(tx: TenantTx, changes: readonly ImportedChange[], by: RevertContext): Promise<RevertOutcome>;
}
