import { type AuditDraft, auditEntry } from "@cell/cell";
import type { AuditEntry, TenantTx } from "@cell/postgres";
import * as batches from "./batches.ts";
import { type Counts, counted, importChanges, reported, reportedProblems } from "./domain.ts";
import type { Importer, RowProblem } from "./importer.ts";
import type * as imports from "./repository.ts";

/** What a step came to. */
export interface Step {
  counts: Counts;
  /** How many rows have been seen, the earlier ones included. */
  done: number;
  audit: AuditDraft[];
}

/** Carries out the next rows of an import, or with `write: false` only finds out what would become of them; what fails is kept. */
export async function applyNext(
  tx: TenantTx,
  importer: Importer,
  job: imports.Import,
  done: number,
  now: string,
  write: boolean,
): Promise<Step> {
  const batch = await batches.next(tx, job.importId, done);
  if (!batch && done < job.total) throw new Error(`Import ${job.importId} has lost the rows behind ${done}`);
  if (!batch) return { counts: nothing, done, audit: [] };
  const { rows, lastRow, skipped, failed } = batch;
  const counts: Counts = { created: 0, updated: 0, skipped, failed };
  const context = { importId: job.importId, options: job.options, actor: job.origin.actor, now, requestId: job.origin.requestId };
  const audit: AuditDraft[] = [];
  const errors = new Map<number, RowProblem[]>();
  for (const outcome of await importer.apply(tx, rows, context, write)) {
    counts[outcome.outcome]++;
    if (outcome.outcome === "failed") errors.set(outcome.row, outcome.problems);
    else if (outcome.outcome !== "skipped" && write) audit.push({ ...outcome.audit, importId: job.importId });
  }
  await batches.markFailed(tx, job.importId, batch, errors);
  return { counts, done: lastRow, audit };
}

export const nothing: Counts = { created: 0, updated: 0, skipped: 0, failed: 0 };

export function add(a: Counts, b: Counts): Counts {
  return { created: a.created + b.created, updated: a.updated + b.updated, skipped: a.skipped + b.skipped, failed: a.failed + b.failed };
}

/** An import whose rows are done, and its audit entry; a dry run leaves none. */
export async function finish(
  tx: TenantTx,
  job: imports.Import,
  counts: Counts,
  now: string,
): Promise<{ job: imports.Import; audit: AuditDraft[] }> {
  const final = counted(counts, job.total, job.options);
  const { errors, errorsTruncated } = reported(final.failed > 0 ? await batches.firstFailed(tx, job.importId, reportedProblems + 1) : []);
  const { dryRun, ...options } = job.options;
  const entry: AuditDraft = {
    action: "import",
    resourceType: "import",
    resourceId: job.importId,
    resourceName: null,
    resourceVersion: null,
    changes: importChanges({ resource: job.resourceType, ...options, total: job.total, ...final }),
    importId: job.importId,
  };
  const finished: imports.Import = { ...job, ...final, done: job.total, status: "completed", errors, errorsTruncated, finishedAt: now };
  return { job: finished, audit: dryRun ? [] : [entry] };
}

/** The entries of drafts in the name of who asked for the import. */
export function entriesOf(drafts: readonly AuditDraft[], origin: imports.ImportOrigin, now: string): AuditEntry[] {
  return drafts.map((draft) => auditEntry({ ...origin, now }, draft));
}
