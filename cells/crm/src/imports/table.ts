import type { Generated } from "kysely";

export interface ImportsTable {
  importId: string;
  /** What it imports, as in the audit trail. */
  resourceType: string;
  status: ImportStatus;
  /** The step in progress: rows are checked (first step of an atomic import), applied, or reverted. */
  phase: "check" | "apply" | "revert";
  actorId: string;
  options: unknown;
  /** The caller and the request, for the audit entries that are written after the response. */
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
  /** Used part of the budget for failed rows, in bytes. */
  failedRowBytes: Generated<number>;
  /** Whether some failed rows were not stored. */
  failedRowsTruncated: Generated<boolean>;
  reverted: Generated<number>;
  /** Records that the revert skipped, with the reason. */
  kept: Generated<unknown>;
  /** Number of the last audit entry that was reverted. */
  revertSeq: Generated<number>;
  revertOrigin: unknown;
  /** Whether its rows were deleted. */
  swept: Generated<boolean>;
  createdAt: string;
  finishedAt: string | null;
}

export type ImportStatus = "receiving" | "queued" | "running" | "completed" | "failed" | "reverted";

/** The rows to apply of an upload, in their order; deleted a day after the import. */
export interface ImportBatchesTable {
  importId: string;
  firstRow: number;
  lastRow: number;
  /** Number of rows between these that are skipped or fail regardless of stored records. */
  skipped: number;
  failed: number;
  /** JSON: the content of the other rows. */
  rows: string;
  /** JSON: the cells of these rows as received. */
  cells: string;
}

/** The failed rows of an upload; deleted a day after the import. */
export interface ImportFailuresTable {
  importId: string;
  row: number;
  line: number | null;
  /** The cells as received, in the order of the header. */
  cells: unknown;
  errors: unknown;
  /** Whether it fails regardless of stored records. */
  byItself: boolean;
}
