import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inspect } from "../cells/crm/src/testing/test-crm.ts";
import type { TestGateway } from "../gateway/src/testing/gateway.ts";
import { type Load, startLoad } from "./placement/load.ts";
import { ask, endOf, moveTo, newTenant, startTestbed, type Testbed } from "./placement/testbed.ts";

let testbed: Testbed;
let first: TestGateway;
let second: TestGateway;

beforeAll(async () => {
  testbed = await startTestbed(18_450);
  [first, second] = testbed.gateways as [TestGateway, TestGateway];
}, 60_000);
afterAll(() => testbed.stop(), 60_000);

/** Every acknowledged write is there once, is repeated as it was, and is in the audit trail once. */
async function assertResponse(load: Load, key: string, tenantId: string): Promise<void> {
  expect(load.faults).toEqual([]);
  const total = async (path: string) => (await ask(second, key, tenantId, `${path}?pageSize=1&total=exact`)).body.total as number;
  const made = (path: string) => load.acknowledged.filter((write) => write.path === path);
  expect(await total("/contracts")).toBe(made("/contracts").length);
  const numbers = made("/contracts").map(({ response }) => response.body.number as string);
  expect(new Set(numbers).size).toBe(numbers.length);
  const repeats = load.acknowledged.map(
    ({ path, requestId, body }) =>
      () =>
        ask(second, key, tenantId, path, { requestId, body }),
  );
  for (let done = 0; done < repeats.length; done += 16) {
    const again = await Promise.all(repeats.slice(done, done + 16).map((repeat) => repeat()));
    const before = load.acknowledged.slice(done, done + 16).map(({ response }) => [response.status, true, response.text]);
    expect(again.map(({ status, replayed, text }) => [status, replayed, text])).toEqual(before);
  }
}

/** The audit entries of a load by its request ids, read where the tenant is. */
async function entriesOf(tenantId: string, requestIds: readonly string[]): Promise<number> {
  const [row] = await inspect<{ entries: number }>(
    tenantId,
    "select count(*)::int as entries from $tenant.audit_logs where request_id = any($1)",
    [requestIds],
  );
  return row?.entries ?? 0;
}

test("a tenant moves to another PostgreSQL and back while clients write and an import runs: nothing is lost, nothing is there twice", async () => {
  const tenantId = "moving";
  const key = await newTenant(testbed, tenantId);
  const owner = await ask(first, key, tenantId, "/customers", { body: { name: "The customer of all contracts" } });
  const load = startLoad([first, second], key, tenantId, owner.body.customerId, 4);
  await sleep(500);
  const items = Array.from({ length: 2_000 }, (_, index) => ({ name: `Imported ${index}` }));
  const started = await ask(first, key, tenantId, "/customers/import", { body: { items, async: true }, requestId: "the-import" });
  expect(started.status).toBe(202);
  const there = await moveTo(first, tenantId, "crm-2");
  await sleep(500);
  const back = await moveTo(second, tenantId, "crm-1");
  await sleep(500);
  await load.stop();
  expect([there, back]).toMatchObject([
    { state: "done", failure: null, leftover: "crm-1" },
    { state: "done", failure: null, leftover: "crm-2" },
  ]);
  process.stdout.write(
    `${load.acknowledged.length} writes acknowledged, ${load.putOff} put off; paused for ${there.pauseMs} ms there and ${back.pauseMs} ms back\n`,
  );

  await assertResponse(load, key, tenantId);
  const ids = load.acknowledged.map(({ requestId }) => requestId);
  expect(await entriesOf(tenantId, ids)).toBe(ids.length);
  let report = await ask(first, key, tenantId, `/imports/${started.body.importId}`);
  for (; report.body.status === "queued" || report.body.status === "running"; await sleep(100))
    report = await ask(first, key, tenantId, `/imports/${started.body.importId}`);
  expect(report.body).toMatchObject({ status: "completed", created: 2_000, failed: 0 });
  const customers = await ask(first, key, tenantId, "/customers?pageSize=1&total=exact");
  expect(customers.body.total).toBe(1 + 2_000 + load.acknowledged.filter(({ path }) => path === "/customers").length);
  while (!(await testbed.cells[0].sealer.seal(tenantId))) await sleep(20);
  expect((await ask(first, key, tenantId, "/audit-logs/verify")).body).toMatchObject({ ok: true, firstBroken: null });
}, 240_000);

test("a gateway that has not heard of a move yet sends what the old partition refuses to the new one", async () => {
  const tenantId = "misdirected";
  const key = await newTenant(testbed, tenantId);
  expect((await ask(second, key, tenantId, "/customers")).status).toBe(200);
  expect(await moveTo(first, tenantId, "crm-2")).toMatchObject({ state: "done" });
  const created = await ask(second, key, tenantId, "/customers", { body: { name: "At once" }, requestId: "at-once" });
  expect([created.status, created.body.name]).toEqual([201, "At once"]);
  expect((await ask(first, key, tenantId, "/customers")).body.total).toBe(1);
});

test("a partition that a tenant has left answers nothing of it, and takes no step of an earlier move", async () => {
  const tenantId = "left";
  const key = await newTenant(testbed, tenantId);
  await ask(first, key, tenantId, "/customers", { body: { name: "Kept" } });
  const moved = await moveTo(first, tenantId, "crm-2");
  const [old] = testbed.cells;
  const operator = old.client(tenantId, { userId: "operator", actorType: "operator", permissions: ["cell:admin"] });
  const status = async (path: string, init: RequestInit) => (await fetch(old.url + path, init)).status;
  const resume = (epoch: number) =>
    status(`/internal/tenants/${tenantId}/resume?epoch=${epoch}`, { method: "POST", headers: operator.headers() });
  expect(await status("/customers", { headers: old.client(tenantId).headers() })).toBe(421);
  expect(await status("/customers", { method: "POST", headers: old.client(tenantId).headers("k"), body: "{}" })).toBe(421);
  expect([await resume(1), await resume(moved.moveId + 1_000)]).toEqual([409, 409]);
  expect(await status(`/internal/tenants/${tenantId}/resume?epoch=1`, { method: "POST", headers: old.client(tenantId).headers() })).toBe(
    403,
  );
  await expect(inspect(tenantId, `set role "tenant_${tenantId}"; select from $tenant.customers`)).rejects.toThrow("permission denied");

  const dropped = await first.call(`/api/admin/tenants/${tenantId}/copies`, { method: "DELETE" });
  expect(dropped.body).toEqual({ tenantId, dropped: ["crm-1"] });
  expect(await status("/customers", { headers: old.client(tenantId).headers() })).toBe(404);
  expect((await ask(first, key, tenantId, "/customers")).body.total).toBe(1);
});

test("a move whose gateway stops at any moment ends, and the tenant is in one place with all its writes", async () => {
  const tenantId = "interrupted";
  const key = await newTenant(testbed, tenantId);
  const owner = await ask(first, key, tenantId, "/customers", { body: { name: "The customer of all contracts" } });
  const load = startLoad([first, second], key, tenantId, owner.body.customerId, 2);
  const ends: string[] = [];
  for (const delayMs of [0, 400, 800, 1_200, 2_000]) {
    const gateway = await testbed.gateway();
    const { placements } = (await gateway.call<{ placements: { partition: string }[] }>(`/api/admin/tenants/${tenantId}`)).body;
    const to = placements[0]?.partition === "crm-1" ? "crm-2" : "crm-1";
    const begun = await gateway.call<{ moveId: number }>(`/api/admin/tenants/${tenantId}/move`, { json: { to } });
    await sleep(delayMs);
    await gateway.stop();
    ends.push((await endOf(first, begun.body.moveId)).state);
  }
  await load.stop();
  expect(ends[0]).toBe("failed");
  await assertResponse(load, key, tenantId);
}, 240_000);

test("while one partition's PostgreSQL is away, a move to it is taken back and the other partition's tenants do not notice", async () => {
  const [here, there] = [await newTenant(testbed, "here"), await newTenant(testbed, "there")];
  expect(await moveTo(first, "there", "crm-2")).toMatchObject({ state: "done" });
  const owner = await ask(first, here, "here", "/customers", { body: { name: "The customer of all contracts" } });
  const load = startLoad([first, second], here, "here", owner.body.customerId, 2);
  await testbed.second.halt();
  const refused = await ask(first, there, "there", "/customers", { body: { name: "Refused" }, requestId: "refused" });
  expect([refused.status, refused.body.code]).toEqual([503, "UNAVAILABLE"]);
  expect(await moveTo(first, "here", "crm-2")).toMatchObject({ state: "failed", failure: expect.stringContaining("not reachable") });
  await load.stop();
  expect([load.putOff, load.faults]).toEqual([0, []]);
  expect((await ask(first, here, "here", "/customers", { body: { name: "Goes on" } })).status).toBe(201);

  await testbed.second.goOn();
  let again = await ask(first, there, "there", "/customers", { body: { name: "Refused" }, requestId: "refused" });
  for (; again.status === 503; await sleep(100))
    again = await ask(first, there, "there", "/customers", { body: { name: "Refused" }, requestId: "refused" });
  expect(again.status).toBe(201);
}, 120_000);

test("while one partition's process is away, the other partition's tenants do not notice", async () => {
  const [here, there] = [await newTenant(testbed, "stays"), await newTenant(testbed, "gone")];
  expect(await moveTo(first, "gone", "crm-2")).toMatchObject({ state: "done" });
  const owner = await ask(first, here, "stays", "/customers", { body: { name: "The customer of all contracts" } });
  const load = startLoad([first, second], here, "stays", owner.body.customerId, 2);
  const [, cell] = testbed.cells;
  await cell.sealer.stop();
  await cell.stop();
  for (let request = 0; request < 20; request++) expect((await ask(first, there, "gone", "/customers")).status).toBe(503);
  await load.stop();
  expect([load.putOff, load.faults]).toEqual([0, []]);
  expect(load.acknowledged.length).toBeGreaterThan(0);
}, 60_000);
