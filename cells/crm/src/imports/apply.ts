import { setImmediate as turn } from "node:timers/promises";
import { type AuditDraft, auditEntry } from "@cell/cell";
import type { AuditEntry, TenantTx } from "@cell/postgres";
import { unavailable } from "@cell/problem";
import * as batches from "./batches.ts";
import { bounded, type Counts, counted, importChanges, reported, reportedProblems } from "./domain.ts";
import * as failedRows from "./failed-rows.ts";
import type { ImportContext, Importer, Plan, Row, RowOutcome, RowProblem } from "./importer.ts";
import type * as imports from "./repository.ts";

/** Result of a step. */
export interface Step {
  counts: Counts;
  /** Number of rows done, those of earlier steps included. */
  done: number;
  /** Stored bytes of rows that failed because of stored data, those of earlier steps included. */
  failedRowBytes: number;
  /** Some failed rows are not stored. */
  failedRowsTruncated: boolean;
}

/** Size of an import's steps. */
export interface BatchSize {
  /** Batches per step, which is one transaction. */
  batches: number;
  /** Rows that are planned and written together. */
  rowsAtOnce: number;
}

/** `busy`: small enough that other requests wait only a millisecond or two, and for a record that is being imported at most one batch. */
export const batchSize = {
  alone: { batches: 4, rowsAtOnce: 125 },
  besideOthers: { batches: 1, rowsAtOnce: 60 },
  /** In the transaction of the request that waits for the result. */
  whole: { batches: Number.POSITIVE_INFINITY, rowsAtOnce: 60 },
} satisfies Record<string, BatchSize>;
const attempts = 5;

/** Carries out the next rows of an import, after those that are done; stores what fails. `write` false: only determines the outcome. */
export async function applyNext(
  tx: TenantTx,
  importer: Importer,
  job: imports.Import,
  done: number,
  now: string,
  { write, batches: most, rowsAtOnce }: BatchSize & { write: boolean },
): Promise<Step> {
  const rows = new RowsToApply(tx, importer, job, now, write);
  try {
    for (let left = most; left > 0 && done < job.total; left--) {
      done = await rows.take(done, rowsAtOnce, left > 1);
    }
    const counts = await rows.outcome();
    return { counts, done, failedRowBytes: rows.failedRows.usedBytes, failedRowsTruncated: rows.failedRows.isTruncated };
  } finally {
    // The transaction must not end while statements are running on it.
    await rows.outcome().catch(() => undefined);
  }
}

/**
 * Pipeline for import rows: look up, plan, write, audit. While the database writes one batch, the next one is planned and the entries of
 * the previous one are made.
 */
class RowsToApply {
  readonly #tx: TenantTx;
  readonly #importer: Importer;
  readonly #job: imports.Import;
  readonly #context: ImportContext;
  readonly #write: boolean;
  readonly #counts = { ...nothing };
  readonly failedRows: failedRows.FailedRowBudget;
  /** The next batch, read while the previous one is written. */
  #coming: Promise<batches.Batch | undefined> | undefined;
  #writing: Promise<unknown> = Promise.resolve();
  #outcome: Promise<void> = Promise.resolve();

  constructor(tx: TenantTx, importer: Importer, job: imports.Import, now: string, write: boolean) {
    const { importId, options, origin } = job;
    this.#tx = tx;
    this.#importer = importer;
    this.#job = job;
    this.#context = { importId, options, actor: origin.actor, now, requestId: origin.requestId };
    this.#write = write;
    this.failedRows = new failedRows.FailedRowBudget({ usedBytes: job.failedRowBytes, isTruncated: job.failedRowsTruncated });
  }

  /**
   * Takes the batch after row `done`; `isMore`: another one follows. Resolves to its last row, possibly before its last rows are written.
   */
  async take(done: number, rowsAtOnce: number, isMore: boolean): Promise<number> {
    const batch = await (this.#coming ?? this.#batchAfter(done));
    this.#coming = undefined;
    if (!batch) throw new Error(`Import ${this.#job.importId} has lost the rows after ${done}`);
    const { rows, skipped, failed, lastRow } = batch;
    const known = await this.#importer.lookUp(this.#tx, rows, this.#context.actor);
    const errors = new Map<number, RowProblem[]>();
    for (let at = 0; at < rows.length; at += rowsAtOnce) {
      const chunk = rows.slice(at, at + rowsAtOnce);
      const plans = this.#importer.plan(chunk, known, this.#context);
      await turn();
      const before = this.#writing;
      const writing = this.#written(plans);
      this.#writing = writing;
      this.#then(async () => this.#resolveOutcome(chunk, plans, await writing, errors));
      if (isMore && lastRow < this.#job.total) this.#coming ??= this.#batchAfter(lastRow);
      await turn();
      await before;
    }
    this.#counts.skipped += skipped;
    this.#counts.failed += failed;
    this.#then(() => batches.markFailed(this.#tx, this.#job.importId, batch, errors, this.failedRows));
    return lastRow;
  }

  /** Resolves to the outcome of the rows taken so far. */
  async outcome(): Promise<Counts> {
    await this.#outcome;
    return this.#counts;
  }

  #batchAfter(row: number): Promise<batches.Batch | undefined> {
    const batch = batches.next(this.#tx, this.#job.importId, row);
    batch.catch(() => undefined);
    return batch;
  }

  /** Runs work in sequence. A failure is reported by `outcome`, and must not be an unhandled rejection before. */
  #then(next: () => Promise<void>): void {
    this.#outcome = this.#outcome.then(next);
    for (const promise of [this.#outcome, this.#writing]) promise.catch(() => undefined);
  }

  async #resolveOutcome(
    rows: readonly Row<unknown>[],
    plans: readonly Plan[],
    missed: ReadonlySet<number>,
    errors: Map<number, RowProblem[]>,
  ) {
    await turn();
    const outcomes = [...outcomesOf(plans, missed), ...(await this.#again(rows.filter(({ row }) => missed.has(row))))];
    for (const outcome of outcomes) {
      this.#counts[outcome.outcome]++;
      if (outcome.outcome === "failed") errors.set(outcome.row, bounded(outcome.problems));
    }
    await this.#record(outcomes);
  }

  /** Rows that another request wrote meanwhile are planned again from what is stored now. */
  async #again(rows: readonly Row<unknown>[]): Promise<RowOutcome[]> {
    const outcomes: RowOutcome[] = [];
    for (let [attempt, pending] = [2, rows]; pending.length > 0; attempt++) {
      if (attempt > attempts) throw unavailable("Other requests are writing the same records; try again");
      const plans = this.#importer.plan(pending, await this.#importer.lookUp(this.#tx, pending, this.#context.actor), this.#context);
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
    await this.#tx.record(entriesOf(drafts, this.#job.origin, now));
  }
}

function outcomesOf(plans: readonly Plan[], missed: ReadonlySet<number>): RowOutcome[] {
  return plans.flatMap(({ outcome }) => (missed.has(outcome.row) ? [] : outcome));
}

export const nothing: Counts = { created: 0, updated: 0, skipped: 0, failed: 0 };

export function add(a: Counts, b: Counts): Counts {
  return { created: a.created + b.created, updated: a.updated + b.updated, skipped: a.skipped + b.skipped, failed: a.failed + b.failed };
}

/** Completes an import, with its audit entry; a dry run has one too, since it reads what is stored. */
export async function finish(
  tx: TenantTx,
  job: imports.Import,
  counts: Counts,
  now: string,
): Promise<{ job: imports.Import; audit: [AuditDraft] }> {
  const final = counted(counts, job.total, job.options);
  const { errors, errorsTruncated } = reported(final.failed > 0 ? await failedRows.first(tx, job.importId, reportedProblems + 1) : []);
  const { dryRun, ...options } = job.options;
  const entry: AuditDraft = {
    action: "import",
    resourceType: "import",
    resourceId: job.importId,
    resourceName: null,
    resourceVersion: null,
    changes: importChanges({ resource: job.resourceType, ...options, ...(dryRun ? { dryRun } : {}), total: job.total, ...final }),
    importId: job.importId,
  };
  const finished: imports.Import = { ...job, ...final, done: job.total, status: "completed", errors, errorsTruncated, finishedAt: now };
  return { job: finished, audit: [entry] };
}

/** The audit entries of drafts, by the user who requested the import. */
export function entriesOf(drafts: readonly AuditDraft[], origin: imports.ImportOrigin, now: string): AuditEntry[] {
  return drafts.map((draft) => auditEntry({ ...origin, now }, draft));
}
