import { type AuditDraft, auditEntry } from "@cell/cell";
import type { AuditEntry, TenantTx } from "@cell/postgres";
import { type Counts, counted, duplicateInFile, importChanges, reported, reportedProblems } from "./domain.ts";
import type { Importer, Row, RowOutcome, RowProblem } from "./importer.ts";
import * as imports from "./repository.ts";

/** Rows of one step: as many as pass before others on this process and on the same records have waited long. */
export const rowsAtOnce = 1_000;

/** What a step came to. */
export interface Step {
  counts: Counts;
  /** How many rows have been seen, the earlier ones included. */
  done: number;
  audit: AuditDraft[];
}

/** Carries out the next rows of an import, or with `write: false` only finds out what would become of them; what fails is kept with the row. */
export async function applyNext(
  tx: TenantTx,
  importer: Importer,
  job: imports.Import,
  done: number,
  now: string,
  write: boolean,
): Promise<Step> {
  const rows = await imports.nextRows(tx, job.importId, done, rowsAtOnce);
  const counts: Counts = { created: 0, updated: 0, skipped: 0, failed: 0 };
  const outcomes: RowOutcome[] = [];
  const valid: Row<unknown>[] = [];
  for (const row of rows) {
    const repeated = row.valid ? repeatedIn(row, importer) : [];
    if (!row.valid) counts.failed++;
    else if (repeated.length === 0) valid.push(row);
    else if (job.options.onDuplicate === "skip") counts.skipped++;
    else outcomes.push({ row: row.row, outcome: "failed", problems: repeated });
  }
  const context = { importId: job.importId, options: job.options, actor: job.origin.actor, now, requestId: job.origin.requestId };
  outcomes.push(...(await importer.apply(tx, valid, context, write)));

  const audit: AuditDraft[] = [];
  const failed: { row: number; errors: RowProblem[] }[] = [];
  for (const outcome of outcomes) {
    counts[outcome.outcome]++;
    if (outcome.outcome === "failed") failed.push({ row: outcome.row, errors: outcome.problems });
    else if (outcome.outcome !== "skipped" && write) audit.push({ ...outcome.audit, importId: job.importId });
  }
  await imports.markFailed(tx, job.importId, failed);
  return { counts, done: rows.at(-1)?.row ?? done, audit };
}

/** What is wrong with a row whose like came before it. */
function repeatedIn(row: imports.RowToApply, { keys }: Importer): RowProblem[] {
  const problems: RowProblem[] = [];
  if (row.firstOfName !== null && row.firstOfName < row.row) problems.push(duplicateInFile(keys.name, row.firstOfName));
  if (row.firstOfId !== null && row.firstOfId < row.row) problems.push(duplicateInFile(keys.id, row.firstOfId));
  return problems;
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
  const { errors, errorsTruncated } = reported(final.failed > 0 ? await imports.firstFailed(tx, job.importId, reportedProblems + 1) : []);
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
