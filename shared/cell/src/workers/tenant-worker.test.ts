import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createLogger } from "@cell/http";
import type { Registry, Tenant } from "@cell/postgres";
import { TcpProxy } from "@cell/postgres/testing/proxy";
import { Placement } from "@cell/postgres/transfer/placement";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { backoffMs } from "./backoff.ts";
import { TenantWorker, type TenantWorkerOptions } from "./tenant-worker.ts";
import type { JobProcessInput } from "./testing/job-process.ts";
import { addJobs, claimJob, countJobs, finishJob, hasJobs, nextFreeInMs, openJobRegistry } from "./testing/job-queue.ts";
import "@cell/postgres/testing/global-setup";

const cell = `cell_${randomBytes(4).toString("hex")}`;
const log = createLogger("test", "silent");
let registry: Registry;
/** The same cell as another process has it. */
let elsewhere: Registry;
const workers: TenantWorker[] = [];

beforeAll(async () => {
  registry = await openJobRegistry(inject("databaseUrl"), cell);
  elsewhere = await openJobRegistry(inject("databaseUrl"), cell);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
afterAll(async () => {
  await Promise.all([registry.close(), elsewhere.close()]);
});

function workerOf(options: Partial<TenantWorkerOptions> & Pick<TenantWorkerOptions, "run">): TenantWorker {
  const worker = new TenantWorker({
    name: "test",
    registry,
    log,
    concurrency: 1,
    pollMs: 60_000,
    findTenants: async () => [],
    ...options,
  });
  workers.push(worker);
  return worker;
}

async function provision(count: number): Promise<string[]> {
  const tenantIds = Array.from({ length: count }, () => `w-${randomBytes(5).toString("hex")}`);
  for (const tenantId of tenantIds) await registry.provision(tenantId);
  return tenantIds;
}

/** Calls that are counted and awaited by their number. */
class Calls<T> {
  readonly all: T[] = [];
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  readonly add = (call: T): void => {
    this.all.push(call);
    for (const { count, resolve } of this.#waiting) if (this.all.length >= count) resolve();
  };

  /** Resolves when there have been this many. */
  async reach(count: number): Promise<T[]> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.all.length >= count) resolve();
    else this.#waiting.push({ count, resolve });
    await promise;
    return this.all;
  }
}

/** Does a tenant's jobs one by one, each under a lease. */
async function runJobs(tenant: Tenant, leaseMs = 30_000): Promise<number | undefined> {
  for (let jobId = await claimJob(tenant, leaseMs); jobId !== undefined; jobId = await claimJob(tenant, leaseMs))
    await finishJob(tenant, jobId);
  return nextFreeInMs(tenant.reader());
}

describe("a tenant worker", () => {
  test("runs a tenant that is woken, again when its run asks for it, and then not before it is woken again", async () => {
    const [tenantId, other] = (await provision(2)) as [string, string];
    const runs = new Calls<string>();
    const worker = workerOf({
      run: async (tenant) => {
        runs.add(tenant.tenantId);
        return runs.all.length === 1 ? 1 : undefined;
      },
    });
    worker.wake(tenantId);
    await runs.reach(2);
    worker.wake(other);
    expect(await runs.reach(3)).toEqual([tenantId, tenantId, other]);
    worker.wake(tenantId);
    expect(await runs.reach(4)).toEqual([tenantId, tenantId, other, tenantId]);
  });

  test("makes one run of many wake-ups, and another one where they come while the tenant runs", async () => {
    const [tenantId = ""] = await provision(1);
    const runs = new Calls<string>();
    const gate = Promise.withResolvers<void>();
    const worker = workerOf({
      coalesceMs: 1,
      run: async () => {
        runs.add(tenantId);
        if (runs.all.length === 1) await gate.promise;
        return undefined;
      },
    });
    for (let count = 0; count < 10; count++) worker.wake(tenantId);
    await runs.reach(1);
    for (let count = 0; count < 10; count++) worker.wake(tenantId, 0);
    gate.resolve();
    await runs.reach(2);
    await worker.stop();
    expect(runs.all).toHaveLength(2);
  });

  test("runs as many tenants at once as it may, and none twice at once", async () => {
    const tenantIds = await provision(6);
    const running = new Set<string>();
    const most: number[] = [];
    const runs = new Calls<string>();
    const worker = workerOf({
      concurrency: 2,
      async run(tenant) {
        const { tenantId } = tenant;
        expect(running.has(tenantId)).toBe(false);
        running.add(tenantId);
        most.push(running.size);
        if (runs.all.length < 24) worker.wake(tenantId);
        await nextFreeInMs(tenant.reader());
        running.delete(tenantId);
        runs.add(tenantId);
        return undefined;
      },
    });
    for (const tenantId of tenantIds) worker.wake(tenantId);
    await runs.reach(24);
    expect(Math.max(...most)).toBe(2);
  });

  test("runs tenants in the order in which they became due, and a busy one goes behind those that wait", async () => {
    const [busy, ...others] = (await provision(4)) as [string, ...string[]];
    const runs = new Calls<string>();
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const worker = workerOf({
      sliceMs: 0,
      async run(tenant, context) {
        runs.add(tenant.tenantId);
        if (runs.all.length > 1) return undefined;
        begun.resolve();
        await gate.promise;
        // Work without an end: it goes on as long as no other tenant waits.
        while (!context.shouldYield()) await nextFreeInMs(tenant.reader());
        return 0;
      },
    });
    worker.wake(busy);
    await begun.promise;
    for (const tenantId of others) worker.wake(tenantId);
    gate.resolve();
    expect(await runs.reach(5)).toEqual([busy, ...others, busy]);
  });

  test("finds by its poll what other processes wrote, and polls again after a poll that failed", async () => {
    const [tenantId = ""] = await provision(1);
    await addJobs(elsewhere, tenantId, 3);
    const done = new Calls<string>();
    let polls = 0;
    const worker = workerOf({
      pollMs: 5,
      async findTenants() {
        if (++polls === 1) throw new Error("no answer");
        return registry.tenantsWhere(hasJobs);
      },
      async run(tenant) {
        const inMs = await runJobs(tenant);
        done.add(tenant.tenantId);
        return inMs;
      },
    });
    worker.start();
    await done.reach(1);
    expect(await countJobs(registry, tenantId)).toEqual({ done: 3, runs: 3 });
  });
});

describe("a tenant whose run fails", () => {
  test("is left alone for its back-off however often it is woken, while other tenants run", async () => {
    const [failing, ...others] = (await provision(4)) as [string, ...string[]];
    const runs = new Calls<string>();
    const worker = workerOf({
      backoff: { firstMs: 600_000, maxMs: 600_000 },
      async run({ tenantId }) {
        runs.add(tenantId);
        if (tenantId === failing) throw new Error("fails always");
        return undefined;
      },
    });
    worker.wake(failing);
    await runs.reach(1);
    for (const [index, tenantId] of others.entries()) {
      worker.wake(failing, 0);
      worker.wake(tenantId);
      await runs.reach(index + 2);
    }
    expect(runs.all).toEqual([failing, ...others]);
  });

  test("runs again after its back-off until it succeeds, and each failure is reported with its cause", async () => {
    const [tenantId = ""] = await provision(1);
    const runs = new Calls<number>();
    const failures: unknown[] = [];
    const worker = workerOf({
      backoff: { firstMs: 1, maxMs: 2 },
      onFailure: (failed, error) => failures.push([failed, (error as Error).message]),
      async run() {
        runs.add(runs.all.length + 1);
        if (runs.all.length < 4) throw new Error(`failure ${runs.all.length}`);
        return undefined;
      },
    });
    worker.wake(tenantId);
    await runs.reach(4);
    await worker.stop();
    expect(failures).toEqual([1, 2, 3].map((number) => [tenantId, `failure ${number}`]));
    expect(runs.all).toHaveLength(4);
  });

  test("waits twice as long after each failure up to the limit, and up to half of that less by chance", () => {
    const backoff = { firstMs: 100, maxMs: 1_000 };
    expect([1, 2, 3, 4, 5, 60].map((failures) => backoffMs(failures, backoff, 0))).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    expect([1, 2, 60].map((failures) => backoffMs(failures, backoff, 1))).toEqual([50, 100, 500]);
    const delays = Array.from({ length: 50 }, () => backoffMs(5, backoff));
    expect(new Set(delays).size).toBeGreaterThan(1);
  });
});

describe("a tenant that is not served here", () => {
  const skipped = new Calls<string>();
  const failed = new Calls<string>();
  const jobWorker = (options: Partial<TenantWorkerOptions> = {}) =>
    workerOf({ onSkip: skipped.add, onFailure: failed.add, run: (tenant) => runJobs(tenant), ...options });

  test("because it is paused is skipped without a failure, and its work is done once it is resumed and woken", async () => {
    const [tenantId = ""] = await provision(1);
    await addJobs(registry, tenantId, 2);
    const placement = new Placement(elsewhere);
    await placement.pause(tenantId, 1);
    const done = new Calls<string>();
    const worker = jobWorker({
      async run(tenant) {
        const inMs = await runJobs(tenant);
        done.add(tenant.tenantId);
        return inMs;
      },
    });
    worker.wake(tenantId);
    expect((await skipped.reach(1)).at(-1)).toBe(tenantId);
    await placement.resume(tenantId, 1);
    await registry.refresh(tenantId);
    worker.wake(tenantId);
    await done.reach(1);
    expect(await countJobs(registry, tenantId)).toEqual({ done: 2, runs: 2 });
    expect(failed.all).toEqual([]);
  });

  test("because another process paused it while it ran is skipped without a failure", async () => {
    const [tenantId = ""] = await provision(1);
    await addJobs(registry, tenantId, 2);
    const worker = jobWorker({
      async run(tenant) {
        await new Placement(elsewhere).pause(tenantId, 1);
        return runJobs(tenant);
      },
    });
    const before = skipped.all.length;
    worker.wake(tenantId);
    expect((await skipped.reach(before + 1)).at(-1)).toBe(tenantId);
    expect(await countJobs(registry, tenantId)).toEqual({ done: 0, runs: 0 });
    expect(failed.all).toEqual([]);
  });

  test("because it was dropped while it waited, or while it ran, is forgotten without a failure", async () => {
    const [waiting, running] = (await provision(2)) as [string, string];
    const before = skipped.all.length;
    const worker = jobWorker({
      async run(tenant) {
        await elsewhere.drop(waiting);
        await elsewhere.drop(running);
        return runJobs(tenant);
      },
    });
    worker.wake(running);
    worker.wake(waiting);
    expect((await skipped.reach(before + 2)).slice(-2).sort()).toEqual([running, waiting].sort());
    expect(failed.all).toEqual([]);
  });
});

test("an outage of the database costs a tenant worker no attempt for each tenant, and all work is done after it", async () => {
  const tenantIds = await provision(8);
  for (const tenantId of tenantIds) await addJobs(registry, tenantId, 1);
  const proxy = await TcpProxy.open({ targetPort: Number(new URL(inject("databaseUrl")).port) });
  const behind = await openJobRegistry(proxy.through(inject("databaseUrl")), cell);
  for (const tenantId of tenantIds) await behind.tenant(tenantId);
  const done = new Calls<string>();
  const failures: string[] = [];
  const worker = workerOf({
    registry: behind,
    backoff: { firstMs: 1, maxMs: 1 },
    onFailure(tenantId) {
      failures.push(tenantId);
      proxy.refusing = false;
    },
    async run(tenant) {
      const inMs = await runJobs(tenant);
      done.add(tenant.tenantId);
      return inMs;
    },
  });
  proxy.refusing = true;
  proxy.cut();
  for (const tenantId of tenantIds) worker.wake(tenantId);
  await done.reach(tenantIds.length);
  expect(failures).toEqual(tenantIds.slice(0, 1));
  expect(new Set(done.all)).toEqual(new Set(tenantIds));
  await worker.stop();
  await behind.close();
  await proxy.close();
});

describe("several processes", () => {
  test("woken by LISTEN and NOTIFY do each job once, claimed by `for update skip locked`", async () => {
    const tenantIds = await provision(3);
    const done = new Calls<number>();
    const listening = await Promise.all(
      [registry, elsewhere].map(async (own) => {
        const worker = workerOf({
          registry: own,
          concurrency: 3,
          async run(tenant) {
            for (let jobId = await claimJob(tenant, 30_000); jobId !== undefined; jobId = await claimJob(tenant, 30_000)) {
              await finishJob(tenant, jobId);
              done.add(jobId);
            }
            return undefined;
          },
        });
        const client = await own.openOwner("notifications");
        client.on("notification", ({ payload }) => worker.wake(payload ?? ""));
        await client.query("listen jobs");
        return client;
      }),
    );
    for (const tenantId of tenantIds) await addJobs(registry, tenantId, 40);
    await done.reach(120);
    for (const tenantId of tenantIds) expect(await countJobs(registry, tenantId)).toEqual({ done: 40, runs: 40 });
    await Promise.all(listening.map((client) => client.end()));
  });

  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill("SIGKILL");
  });

  /** The lines that a process of its own writes, which claims a job and never finishes it. */
  function startProcess(input: Omit<JobProcessInput, "databaseUrl" | "cell">) {
    const child = spawn(process.execPath, [join(import.meta.dirname, "testing/job-process.ts")], { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    child.stdin.end(JSON.stringify({ databaseUrl: inject("databaseUrl"), cell, ...input } satisfies JobProcessInput));
    const lines = new Calls<string>();
    createInterface({ input: child.stdout }).on("line", lines.add);
    return { child, lines };
  }

  test("take over a job whose process was killed, when its lease has ended", async () => {
    const [tenantId = ""] = await provision(1);
    await addJobs(registry, tenantId, 1);
    const { child, lines } = startProcess({ leaseMs: 1_000 });
    await lines.reach(1);
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    expect(await countJobs(registry, tenantId)).toEqual({ done: 0, runs: 1 });
    const done = new Calls<string>();
    const worker = workerOf({
      findTenants: () => registry.tenantsWhere(hasJobs),
      async run(tenant) {
        const inMs = await runJobs(tenant);
        if (inMs === undefined) done.add(tenant.tenantId);
        return inMs;
      },
    });
    worker.start();
    await done.reach(1);
    expect(await countJobs(registry, tenantId)).toEqual({ done: 1, runs: 2 });
  });

  test("log a failed run with its tenant and the database's error, and no value of a row", async () => {
    const [tenantId = ""] = await provision(1);
    await addJobs(registry, tenantId, 1);
    const { child, lines } = startProcess({ leaseMs: 1_000, label: "a value that nobody may read" });
    const [line = ""] = await lines.reach(1);
    child.kill("SIGKILL");
    expect(JSON.parse(line)).toMatchObject({ tenantId, failures: 1, msg: "jobs: a tenant's run failed", err: { code: "23505" } });
    expect(line).not.toContain("a value that nobody may read");
    await runJobs(await registry.tenant(tenantId));
  });
});

describe("a tenant worker that stops", () => {
  test("lets the step under way end, begins no other, and runs no tenant that waits or is woken then", async () => {
    const tenantIds = await provision(3);
    const steps: string[] = [];
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const worker = workerOf({
      async run({ tenantId }, context) {
        while (!context.shouldYield()) {
          begun.resolve();
          await gate.promise;
          steps.push(tenantId);
        }
        return 0;
      },
    });
    for (const tenantId of tenantIds) worker.wake(tenantId);
    await begun.promise;
    const stopped = worker.stop();
    for (const tenantId of tenantIds) worker.wake(tenantId);
    gate.resolve();
    await stopped;
    expect(steps).toEqual(tenantIds.slice(0, 1));
  });

  test("runs each tenant that is scheduled once more where it finishes what is pending", async () => {
    const tenantIds = await provision(3);
    const runs: string[] = [];
    const worker = workerOf({
      coalesceMs: 600_000,
      finishesPending: true,
      async run({ tenantId }) {
        runs.push(tenantId);
        return 0;
      },
    });
    for (const tenantId of tenantIds) worker.wake(tenantId);
    await worker.stop();
    expect(runs).toEqual(tenantIds);
  });

  test("gives up, within its drain time, a run that does not end", async () => {
    const [tenantId = ""] = await provision(1);
    const begun = Promise.withResolvers<AbortSignal>();
    const worker = workerOf({
      drainMs: 20,
      finishesPending: true,
      run(_, { signal }) {
        begun.resolve(signal);
        return new Promise(() => undefined);
      },
    });
    worker.wake(tenantId);
    const signal = await begun.promise;
    await worker.stop();
    expect(signal.aborted).toBe(true);
  });
});
