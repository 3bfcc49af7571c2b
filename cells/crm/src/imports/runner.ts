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
  /** Number of requests so far: imports yield to them. */
  requests(): number;
  /** Called after each step's commit; wakes the sealer. */
  committed(tenantId: string): void;
}

/** Consecutive failures after which an import is aborted. */
const attempts = 5;
/** Up to this many requests during a step are taken for the import's own user polling its progress, and not for load. */
const few = 10;

/**
 * Carries out large imports and reverts in the background: step by step, each step one transaction that also saves the progress. A crash
 * loses at most the current step; another process can take the next one.
 */
export class ImportRunner {
  readonly #options: RunnerOptions;
  readonly #worker: TenantWorker;
  /** Consecutive failures by import. */
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

  /** Begins to poll for work that other processes left. */
  start(): void {
    this.#worker.start();
  }

  /** Runs a tenant's unfinished imports soon. */
  wake(tenantId: string): void {
    this.#worker.wake(tenantId);
  }

  /** Resolves when the current steps have ended; the next start, or another process, continues. */
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
        // The tenant's other imports continue.
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
    return context.shouldYield() ? 0 : undefined;
  }

  /** Runs steps until the import is done, or the runner has to stop. Rejects if a step fails and should be retried. */
  async #import(tenant: Tenant, importId: string, importer: Importer, context: RunContext): Promise<void> {
    const throttle = new Throttle({ requests: this.#options.requests, chunkMs: 0, pieceMs: 500 });
    let failures = this.#failures.get(importId) ?? 0;
    try {
      do {
        // After a failure, small batches complete everything before the faulty row.
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
      this.#options.log.warn({ tenantId: tenant.tenantId, importId, failures, err: error }, "an import was aborted");
      this.#failures.delete(importId);
      await giveUp(tenant, importId);
    }
  }
}

/** A checked row of an atomic import failed when it was applied. */
class RecheckNeeded extends Error {}

/** One step of an import, in its transaction. */
interface Work {
  session: WriteSession;
  importer: Importer;
  job: imports.Import;
  now: string;
  batchSize: BatchSize;
}

/** Carries out the next step of an import. Resolves to whether there are more. */
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

/** Carries out all rows of a checked import in one transaction. */
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

/** Ends an import that cannot continue; its changes stay, and can be reverted. */
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

/** Deletes the rows of an import, and the import itself if its upload failed. */
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
