import { type RunContext, TenantWorker } from "@cell/cell";
import type { Logger } from "@cell/http";
import { databaseProblem, type Registry, type Tenant, type WriteSession } from "@cell/postgres";
import { Problem } from "@cell/problem";
import { add, applyNext, type BatchSize, batchSize, entriesOf, finish, nothing } from "./apply.ts";
import * as batches from "./batches.ts";
import * as failedRows from "./failed-rows.ts";
import type { Importer } from "./importer.ts";
import * as imports from "./repository.ts";
import { revertNext } from "./revert.ts";
import { Throttle } from "./throttle.ts";

export interface RunnerOptions {
  registry: Registry;
  importers: readonly Importer[];
  log: Logger;
  /** How many requests have come so far: they go first. */
  requests(): number;
  /** After each step has committed: the sealer is woken here. */
  committed(tenantId: string): void;
}

/** Failures in a row after which an import is given up. */
const attempts = 5;
/** Requests during a step that come from the import's own user, who polls its progress: at most this many are no load. */
const few = 10;

/**
 * Carries out the imports that were too large to be answered at once, and large reverts: step by step, each step one transaction that also
 * moves the mark up to which the import is done. A crash loses at most the step under way; another process may take the next one.
 */
export class ImportRunner {
  readonly #options: RunnerOptions;
  readonly #worker: TenantWorker;
  /** Failures in a row, by import. */
  readonly #failures = new Map<string, number>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { registry, log } = options;
    this.#worker = new TenantWorker({
      name: "imports",
      registry,
      log,
      concurrency: 2,
      pollMs: 30_000,
      backoff: { firstMs: 400, maxMs: 30_000 },
      findTenants: () => registry.tenantsWhere(imports.needsRunner),
      run: (tenant, context) => this.#run(tenant, context),
    });
  }

  /** Begins to poll for what other processes left. */
  start(): void {
    this.#worker.start();
  }

  /** Runs a tenant's unfinished imports soon. */
  wake(tenantId: string): void {
    this.#worker.wake(tenantId);
  }

  /** Resolves when the steps under way have ended; the next start, or another process, takes up what is left. */
  stop(): Promise<void> {
    return this.#worker.stop();
  }

  async #run(tenant: Tenant, context: RunContext): Promise<number | undefined> {
    for (const { importId, status } of await imports.listStale(tenant.reader())) await discard(tenant, importId, status === "receiving");
    let failure: unknown;
    for (const { importId, resourceType } of await imports.listUnfinished(tenant.reader())) {
      if (context.shouldYield()) break;
      const importer = this.#options.importers.find(({ type }) => type === resourceType);
      try {
        if (importer) await this.#import(tenant, importId, importer, context);
      } catch (error) {
        // The tenant's other imports go on.
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    return context.shouldYield() ? 0 : undefined;
  }

  /** Step after step until the import is done here, or the run must end. Rejects when a step fails that will be tried again. */
  async #import(tenant: Tenant, importId: string, importer: Importer, context: RunContext): Promise<void> {
    const throttle = new Throttle({ requests: this.#options.requests, chunkMs: 0, pieceMs: 500 });
    let failures = this.#failures.get(importId) ?? 0;
    try {
      do {
        // A step that failed is tried again in small batches, so that everything before the fault is done.
        const size = failures > 0 || throttle.recentRequests > few ? batchSize.besideOthers : batchSize.alone;
        const hasMore = await step(tenant, importId, importer, size);
        failures = 0;
        this.#failures.delete(importId);
        this.#options.committed(tenant.tenantId);
        if (!hasMore) return;
        await throttle.done();
      } while (!context.shouldYield());
    } catch (error) {
      if (++failures < attempts || isPassing(error)) {
        this.#failures.set(importId, failures);
        throw error;
      }
      this.#options.log.warn({ tenantId: tenant.tenantId, importId, failures, err: error }, "an import was given up");
      this.#failures.delete(importId);
      await giveUp(tenant, importId);
    }
  }
}

/** A row of an atomic import that was found to be good fails after all. */
class RecheckNeeded extends Error {}

/** A step of an import, in its transaction. */
interface Work {
  session: WriteSession;
  importer: Importer;
  job: imports.Import;
  now: string;
  batchSize: BatchSize;
}

/** Carries out the next step of an import. Resolves to whether there is more to do here. */
export async function step(tenant: Tenant, importId: string, importer: Importer, part: BatchSize): Promise<boolean> {
  try {
    return await tenant.write(async (session) => {
      await session.begin();
      const job = await imports.lock(session.tx, importId);
      if (!job) return false;
      const now = new Date().toISOString();
      const work = { session, importer, job, now, batchSize: part };
      if (job.phase === "revert") return revertStep(work);
      return job.phase === "apply" && job.options.atomic && !job.options.dryRun ? applyWhole(work) : applyStep(work);
    });
  } catch (error) {
    if (!(error instanceof RecheckNeeded)) throw error;
    await recheck(tenant, importId);
    return true;
  }
}

async function revertStep({ session, importer, job, now }: Work): Promise<boolean> {
  const { job: next, audit } = await revertNext(session.tx, importer, job, now);
  await session.commit(undefined, [imports.save(session.tx, next)], entriesOf(audit, job.revertOrigin ?? job.origin, now));
  return next.status !== "reverted";
}

async function applyStep({ session, importer, job, now, batchSize }: Work): Promise<boolean> {
  const { tx } = session;
  const write = job.phase === "apply" && !job.options.dryRun;
  const { counts, ...progress } = await applyNext(tx, importer, job, job.done, now, { ...batchSize, write });
  const next: imports.Import = { ...job, ...add(job, counts), ...progress, status: "running" };
  const isLast = progress.done >= job.total;
  const isChecked = isLast && job.phase === "check" && next.failed === 0;
  if (!isLast || isChecked) {
    await session.commit(undefined, [imports.save(tx, isChecked ? { ...next, phase: "apply" } : next)], []);
    return true;
  }
  const finished = await finish(tx, next, next, now);
  await session.commit(undefined, [imports.save(tx, finished.job)], entriesOf(finished.audit, job.origin, now));
  return false;
}

/** All rows of a checked import, in one transaction. */
async function applyWhole({ session, importer, job, now, batchSize }: Work): Promise<boolean> {
  const { tx } = session;
  const { counts } = await applyNext(tx, importer, job, 0, now, { ...batchSize, batches: Number.POSITIVE_INFINITY, write: true });
  if (counts.failed > 0) throw new RecheckNeeded();
  const finished = await finish(tx, job, counts, now);
  await session.commit(undefined, [imports.save(tx, finished.job)], entriesOf(finished.audit, job.origin, now));
  return false;
}

async function recheck(tenant: Tenant, importId: string): Promise<void> {
  await tenant.write(async (session) => {
    await session.begin();
    const job = await imports.lock(session.tx, importId);
    if (!job) return;
    await failedRows.clear(session.tx, importId);
    await session.commit(undefined, [imports.save(session.tx, { ...job, ...nothing, done: 0, failedRowBytes: 0, phase: "check" })], []);
  });
}

/** Ends an import that cannot go on; what it has done stays, and can be reverted. */
async function giveUp(tenant: Tenant, importId: string): Promise<void> {
  await tenant.write(async (session) => {
    await session.begin();
    const job = await imports.lock(session.tx, importId);
    if (!job) return;
    const finishedAt = new Date().toISOString();
    await session.commit(undefined, [imports.save(session.tx, { ...job, status: "failed", finishedAt })], []);
  });
}

function isPassing(error: unknown): boolean {
  const problem = databaseProblem(error);
  return problem instanceof Problem && (problem.code === "UNAVAILABLE" || problem.code === "TIMEOUT");
}

/** Removes the rows of an import, and with them the import itself where its upload came to nothing. */
export async function discard(tenant: Tenant, importId: string, whole: boolean): Promise<void> {
  for (let left = true; left; ) {
    left = await tenant.write(async (session) => {
      await session.begin();
      const more = await batches.removeSome(session.tx, importId);
      await session.commit(undefined, [], []);
      return more;
    });
  }
  await tenant.write((session) => session.commit(undefined, [(whole ? imports.remove : imports.sweep)(session.tx, importId)], []));
}
