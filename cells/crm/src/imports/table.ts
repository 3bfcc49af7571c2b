import type { Generated } from "kysely";

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
