import { setTimeout as sleep } from "node:timers/promises";
import { type Background, repeat } from "@cell/cell";
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

const pollEveryMs = 30_000;
const tenantsAtOnce = 2;
const attempts = 5;
/** Whoever sees to an import asks how far it is, which is nobody's wait: so many requests during a step are nobody. */
const few = 10;

/**
 * Carries out the imports that were too large to be answered at once, and large reverts: step by step, each step one transaction that also
 * moves the mark up to which the import is done. A crash loses at most the step under way; another process may take the next one.
 */
export class ImportRunner {
  readonly #options: RunnerOptions;
  readonly #waiting: string[] = [];
  readonly #running = new Map<string, Promise<void>>();
  #looking: Background | undefined;
  #stopping = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Takes up what an earlier process left, now and from time to time. */
  start(): void {
    const { registry, log } = this.#options;
    const look = async () => {
      for (const tenantId of await registry.tenantsWhere(imports.needsRunner)) this.wake(tenantId);
    };
    this.#looking = repeat(pollEveryMs, look, log, "looking for unfinished imports");
  }

  /** Sees to a tenant's unfinished imports soon. */
  wake(tenantId: string): void {
    if (!this.#stopping && !this.#waiting.includes(tenantId)) this.#waiting.push(tenantId);
    this.#next();
  }

  /** Resolves when the steps under way have ended; what is left is taken up again by the next start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#looking?.stop();
    this.#waiting.length = 0;
    await Promise.all(this.#running.values());
  }

  #next(): void {
    while (this.#running.size < tenantsAtOnce) {
      const index = this.#waiting.findIndex((tenantId) => !this.#running.has(tenantId));
      const [tenantId] = index < 0 ? [] : this.#waiting.splice(index, 1);
      if (tenantId === undefined) return;
      const run = this.#tenant(tenantId)
        .catch((error) => this.#options.log.warn({ tenantId, err: error }, "an import could not go on"))
        .finally(() => {
          this.#running.delete(tenantId);
          this.#next();
        });
      this.#running.set(tenantId, run);
    }
  }

  async #tenant(tenantId: string): Promise<void> {
    const tenant = await this.#options.registry.tenant(tenantId);
    if (tenant.version < this.#options.registry.version || tenant.state !== "active") return;
    for (const { importId, status } of await imports.listStale(tenant.reader())) await discard(tenant, importId, status === "receiving");
    for (const { importId, resourceType } of await imports.listUnfinished(tenant.reader())) {
      const importer = this.#options.importers.find(({ type }) => type === resourceType);
      if (importer) await this.#import(tenant, importId, importer);
    }
  }

  /** Step after step until the import is done, or until another process has it. */
  async #import(tenant: Tenant, importId: string, importer: Importer): Promise<void> {
    const throttle = new Throttle({ requests: this.#options.requests, chunkMs: 0, pieceMs: 500 });
    for (let failures = 0; !this.#stopping; ) {
      try {
        // What failed is tried again in little, so that all before it is done.
        const part = failures > 0 || throttle.recentRequests > few ? batchSize.besideOthers : batchSize.alone;
        const more = await step(tenant, importId, importer, part);
        this.#options.committed(tenant.tenantId);
        if (!more) return;
        failures = 0;
        await throttle.done();
      } catch (error) {
        // Where the tenant goes on, the import goes on.
        const { state } = await this.#options.registry.refresh(tenant.tenantId).catch(() => tenant);
        if (state !== "active") return;
        failures++;
        this.#options.log.warn({ tenantId: tenant.tenantId, importId, failures, err: error }, "a step of an import failed");
        // What passes is tried again at the next look; anything else would fail for ever.
        if (failures >= attempts) return isPassing(error) ? undefined : giveUp(tenant, importId);
        await sleep(200 * 2 ** failures);
      }
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
