import { setImmediate as turn } from "node:timers/promises";
import { type AuditDraft, auditEntry } from "@cell/cell";
import type { AuditEntry, TenantTx } from "@cell/postgres";
import { unavailable } from "@cell/problem";
import * as batches from "./batches.ts";
import { bounded, type Counts, counted, importChanges, reported, reportedProblems } from "./domain.ts";
import * as failedRows from "./failed-rows.ts";
import type { ImportContext, Importer, Plan, Row, RowOutcome, RowProblem } from "./importer.ts";
import { Pipeline } from "./pipeline.ts";
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
    done = await rows.apply(done, { batches: most, rowsAtOnce });
  } finally {
    // The transaction must not end while statements are under way.
    await rows.end();
  }
  const { counts, failedRows } = rows;
  return { counts, done, failedRowBytes: failedRows.usedBytes, failedRowsTruncated: failedRows.isTruncated };
}

/** Chunks of rows that are written at once: the next one is planned and sent while the database writes the one before. */
const chunksUnderWay = 2;

/**
 * Takes rows through four stages: look up, plan, write, and record in the audit trail. The stages of successive chunks overlap, and the next
 * batch is read while one is written.
 */
class RowsToApply {
  readonly #tx: TenantTx;
  readonly #importer: Importer;
  readonly #job: imports.Import;
  readonly #context: ImportContext;
  readonly #write: boolean;
  readonly #pipeline = new Pipeline(chunksUnderWay);
  /** Of the rows that are settled. */
  readonly counts = { ...nothing };
  readonly failedRows: failedRows.FailedRowBudget;

  constructor(tx: TenantTx, importer: Importer, job: imports.Import, now: string, write: boolean) {
    const { importId, options, origin } = job;
    this.#tx = tx;
    this.#importer = importer;
    this.#job = job;
    this.#context = { importId, options, actor: origin.actor, now, requestId: origin.requestId };
    this.#write = write;
    this.failedRows = new failedRows.FailedRowBudget({ usedBytes: job.failedRowBytes, isTruncated: job.failedRowsTruncated });
  }

  /** Applies the batches after row `done`. Resolves to their last row, possibly before its last chunks are written: see `end`. */
  async apply(done: number, { batches: most, rowsAtOnce }: BatchSize): Promise<number> {
    let coming: Promise<batches.Batch | undefined> | undefined;
    for (let left = most; left > 0 && done < this.#job.total; left--) {
      const batch = await (coming ?? this.#read(done));
      if (!batch) throw new Error(`Import ${this.#job.importId} has lost the rows after ${done}`);
      const errors = new Map<number, RowProblem[]>();
      const isLast = left === 1 || batch.lastRow >= this.#job.total;
      coming = undefined;
      const known = await this.#importer.lookUp(this.#tx, batch.rows, this.#context.actor);
      for (let at = 0; at < batch.rows.length; at += rowsAtOnce) {
        await this.#push(batch.rows.slice(at, at + rowsAtOnce), known, errors);
        if (!isLast) coming ??= this.#read(batch.lastRow);
        await turn();
      }
      this.counts.skipped += batch.skipped;
      this.counts.failed += batch.failed;
      this.#pipeline.settle(() => batches.markFailed(this.#tx, this.#job.importId, batch, errors, this.failedRows));
      done = batch.lastRow;
    }
    return done;
  }

  /** Resolves when every row that was applied is settled. Rejects with the first failure, when no statement is under way any more. */
  end(): Promise<void> {
    return this.#pipeline.end();
  }

  #read(after: number): Promise<batches.Batch | undefined> {
    return this.#pipeline.track(batches.next(this.#tx, this.#job.importId, after));
  }

  async #push(rows: readonly Row<unknown>[], known: unknown, errors: Map<number, RowProblem[]>): Promise<void> {
    const plans = this.#importer.plan(rows, known, this.#context);
    await turn();
    await this.#pipeline.push(
      () => this.#written(plans),
      (missed) => this.#resolveOutcome(rows, plans, missed, errors),
    );
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
      this.counts[outcome.outcome]++;
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
