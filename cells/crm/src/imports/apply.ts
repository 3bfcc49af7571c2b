import { setImmediate as turn } from "node:timers/promises";
import { type AuditDraft, auditEntry } from "@cell/cell";
import type { AuditEntry, TenantTx } from "@cell/postgres";
import { unavailable } from "@cell/problem";
import * as batches from "./batches.ts";
import { type Counts, counted, importChanges, reported, reportedProblems } from "./domain.ts";
import type { ImportContext, Importer, Plan, Row, RowOutcome, RowProblem } from "./importer.ts";
import type * as imports from "./repository.ts";

/** What a step came to. */
export interface Step {
  counts: Counts;
  /** How many rows have been seen, the earlier ones included. */
  done: number;
}

/** Rows that are planned and written together; while others ask, as many as keep them from their turn for a millisecond or two. */
export const portion = { alone: 250, besideOthers: 60 };
const attempts = 5;

export interface ApplyOptions {
  /** False: only to find out what would become of the rows. */
  write: boolean;
  rowsAtOnce: number;
}

/** Carries out the next rows of an import; what fails is kept. */
export async function applyNext(
  tx: TenantTx,
  importer: Importer,
  job: imports.Import,
  done: number,
  now: string,
  { write, rowsAtOnce }: ApplyOptions,
): Promise<Step> {
  const batch = await batches.next(tx, job.importId, done);
  if (!batch && done < job.total) throw new Error(`Import ${job.importId} has lost the rows behind ${done}`);
  if (!batch) return { counts: nothing, done };
  const counts: Counts = { created: 0, updated: 0, skipped: batch.skipped, failed: batch.failed };
  const errors = new Map<number, RowProblem[]>();
  for (const outcome of await new RowsToApply(tx, importer, job, now, write).all(batch.rows, rowsAtOnce)) {
    counts[outcome.outcome]++;
    if (outcome.outcome === "failed") errors.set(outcome.row, outcome.problems);
  }
  await batches.markFailed(tx, job.importId, batch, errors);
  return { counts, done: batch.lastRow };
}

/** Rows on their way: looked up, planned, written, and told to the audit trail. */
class RowsToApply {
  readonly #tx: TenantTx;
  readonly #importer: Importer;
  readonly #context: ImportContext;
  readonly #origin: imports.ImportOrigin;
  readonly #write: boolean;

  constructor(tx: TenantTx, importer: Importer, { importId, options, origin }: imports.Import, now: string, write: boolean) {
    this.#tx = tx;
    this.#importer = importer;
    this.#context = { importId, options, actor: origin.actor, now, requestId: origin.requestId };
    this.#origin = origin;
    this.#write = write;
  }

  /** While the database writes some rows, the next ones are planned and the entries of the ones before are made. One outcome for each. */
  async all(rows: readonly Row<unknown>[], rowsAtOnce: number): Promise<RowOutcome[]> {
    const known = await this.#importer.look(this.#tx, rows, this.#context.actor);
    const planAt = (at: number) => this.#importer.plan(rows.slice(at, at + rowsAtOnce), known, this.#context);
    const outcomes: RowOutcome[] = [];
    let last: RowOutcome[] = [];
    let plans = planAt(0);
    for (let at = 0; at < rows.length; at += rowsAtOnce) {
      const writing = this.#written(plans);
      // Told below: what fails must not end the transaction before the last entries are on their way.
      writing.catch(() => undefined);
      await turn();
      const next = planAt(at + rowsAtOnce);
      await turn();
      const [missed] = await Promise.all([writing, this.#record(last)]);
      last = [...outcomesOf(plans, missed), ...(await this.#again(rows.filter(({ row }) => missed.has(row))))];
      outcomes.push(...last);
      plans = next;
    }
    await this.#record(last);
    return outcomes;
  }

  /** Rows that someone else wrote meanwhile: what is to become of them depends on what is there now. */
  async #again(rows: readonly Row<unknown>[]): Promise<RowOutcome[]> {
    const outcomes: RowOutcome[] = [];
    for (let [attempt, pending] = [2, rows]; pending.length > 0; attempt++) {
      if (attempt > attempts) throw unavailable("Others write the same records just now; try again");
      const plans = this.#importer.plan(pending, await this.#importer.look(this.#tx, pending, this.#context.actor), this.#context);
      const missed = await this.#written(plans);
      outcomes.push(...outcomesOf(plans, missed));
      pending = pending.filter(({ row }) => missed.has(row));
    }
    return outcomes;
  }

  async #written(plans: readonly Plan[]): Promise<ReadonlySet<number>> {
    return this.#write ? this.#importer.write(this.#tx, plans, this.#context.importId) : new Set();
  }

  async #record(outcomes: readonly RowOutcome[]): Promise<void> {
    if (!this.#write) return;
    const { importId, now } = this.#context;
    const drafts = outcomes.flatMap((outcome) => ("audit" in outcome ? { ...outcome.audit, importId } : []));
    await this.#tx.record(entriesOf(drafts, this.#origin, now));
  }
}

function outcomesOf(plans: readonly Plan[], missed: ReadonlySet<number>): RowOutcome[] {
  return plans.flatMap(({ outcome }) => (missed.has(outcome.row) ? [] : outcome));
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
