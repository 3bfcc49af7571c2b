import type * as imports from "./repository.ts";
import type { ImportReport, ImportRevert } from "./schema.ts";

/** The response to an import that is not carried out yet. */
export type Accepted = Pick<ImportReport, "importId" | "status">;
export type ImportResponse = Accepted & Partial<ImportReport>;
export type RevertResponse = Accepted & Partial<ImportRevert>;

/** The progress and the outcome of an import. */
export function reportOf(job: imports.Import): ImportReport {
  const { importId, status, total, done, created, updated, skipped, failed, errors, errorsTruncated, createdAt, finishedAt } = job;
  return {
    importId,
    status: status as ImportReport["status"],
    dryRun: job.options.dryRun,
    total,
    done,
    created,
    updated,
    skipped,
    failed,
    errors: (errors as ImportReport["errors"]).map(problemOf),
    errorsTruncated,
    errorFileTruncated: job.failedRowsTruncated && !job.swept,
    errorFileUrl: failed > 0 && !job.swept ? `/api/v1/crm/imports/${importId}/errors.csv` : null,
    createdAt,
    finishedAt,
  };
}

/** A problem with its members in order, which the database does not keep. */
function problemOf({ row, line, field, code, message, duplicateOf }: ImportReport["errors"][number]): ImportReport["errors"][number] {
  return { row, line, field, code, message, duplicateOf };
}

/** The outcome of a revert. */
export function revertOf({ importId, resourceType, status, reverted, kept: stored }: imports.Import): RevertResponse {
  const skipped = stored.map(({ id, reason }) => ({ [`${resourceType}Id`]: id, reason })) as ImportRevert["skipped"];
  return { importId, status: status as ImportReport["status"], reverted, skipped };
}
