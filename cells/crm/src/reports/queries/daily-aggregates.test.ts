import type { TestClient } from "@cell/cell/testing/test-cell";
import { quiet, recordStatements } from "@cell/postgres/testing/statement-watch";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inspect, startCrm, type TestCrm } from "../../testing/test-crm.ts";
import { cohortDays } from "./cohort.ts";

/** One that remembers what it was asked, and one that is started anew whenever it is asked: what is kept in the database it may know, or not. */
let cell: TestCrm;
beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

async function fresh<T>(work: (other: TestCrm) => Promise<T>): Promise<T> {
  const other = await startCrm();
  try {
    return await work(other);
  } finally {
    await other.stop();
  }
}

const dayMs = 24 * 60 * 60 * 1000;
const start = Date.parse("2026-03-02T00:00:00.000Z");
const at = (ms: number) => new Date(start + ms).toISOString();
/** Times within ten days, often the very beginning or end of one. */
const times = fc.tuple(fc.integer({ min: 0, max: 10 }), fc.constantFrom(0, 1, dayMs / 2, dayMs - 1)).map(([day, ms]) => day * dayMs + ms);
const windows = fc.tuple(times, times).map(([one, other]) => ({ from: at(Math.min(one, other)), to: at(Math.max(one, other) + 1) }));
const writes = fc.oneof(
  fc.record({ what: fc.constant("create" as const), createdAt: times, amount: fc.constantFrom("0", "7.25", "1000000.10", "0.0001") }),
  fc.record({
    what: fc.constantFrom("move" as const, "win" as const, "delete" as const, "give" as const, "export" as const),
    which: fc.nat(20),
  }),
);
type Write = typeof writes extends fc.Arbitrary<infer W> ? W : never;
const steps = fc.array(fc.tuple(fc.array(writes, { maxLength: 3 }), windows), { minLength: 3, maxLength: 8 });

/** A response without the time of its request: ages are in tenths of a day, and here in days. */
function figuresOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(figuresOf);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => !["links", "asOf", "window"].includes(name));
  return Object.fromEntries(entries.map(([name, inner]) => [name, name.startsWith("avg") ? Math.round(inner) : figuresOf(inner)]));
}

const tomorrow = new Date(Date.now() + dayMs).toISOString().slice(0, 10);

async function importOne(client: TestClient, customerId: string, name: string, createdAt: string, amount: string) {
  const response = await client.post("/opportunities/import", {
    body: { items: [{ customerId, name, createdAt, amount }], mode: "create" },
  });
  expect(response.body, response.text).toMatchObject({ created: 1 });
}

test("reports are the same out of memory, whatever was written between two questions, as from a process that was never asked", async () => {
  const check = async (given: readonly [Write[], { from: string; to: string }][]) => {
    const tenantId = await cell.tenant();
    const client = cell.client(tenantId);
    const { body: customer } = await client.post("/customers", { body: { name: "Cohort" } });
    let made = 0;
    const responses: { path: string; figures: unknown }[] = [];
    for (const [written, { from, to }] of given) {
      for (const write of written) {
        if (write.what === "create") await importOne(client, customer.customerId, `N${made++}`, at(write.createdAt), write.amount);
        else if (write.what === "export") await client.get("/opportunities/export?pageSize=1");
        else {
          const { body: list } = await client.get("/opportunities?pageSize=200&sort=createdAt");
          const id = list.data[write.which % Math.max(1, list.data.length)]?.opportunityId;
          if (id === undefined) continue;
          if (write.what === "delete") await client.delete(`/opportunities/${id}`);
          else if (write.what === "give") await client.patch(`/opportunities/${id}`, { body: { ownerId: "user-002" } });
          else await client.patch(`/opportunities/${id}`, { body: { stage: write.what === "win" ? "won" : "negotiation", amount: "3.5" } });
        }
      }
      for (const owner of ["", "&ownerId=user-002"]) {
        for (const path of [
          `/pipeline/summary?from=${at(0)}&to=${tomorrow}${owner}`,
          `/reports/funnel?from=${from}&to=${tomorrow}${owner}`,
        ])
          responses.push({ path, figures: figuresOf((await client.get(path)).body) });
        const path = `/pipeline/funnel?from=${from}&to=${to}${owner}`;
        const { body } = await client.get(path);
        responses.push({ path, figures: figuresOf(body) });
        // What was counted is what the drill-down lists.
        const [, link] = /\/opportunities(.*)/.exec(body.links.cohort) ?? [];
        const { body: rows } = await client.get(`/opportunities${link}`);
        expect(rows.total).toBe(body.cohort);
      }
    }
    const last = responses.slice(-6);
    await quiet();
    for (const forget of ["", "delete from $tenant.kept_parts"]) {
      if (forget) await inspect(tenantId, forget);
      await fresh(async (other) => {
        for (const { path, figures } of last) expect(figuresOf((await other.client(tenantId).get(path)).body)).toEqual(figures);
      });
    }
  };
  await fc.assert(fc.asyncProperty(steps, check), { numRuns: 6, interruptAfterTimeLimit: 60_000, endOnFailure: true });
}, 120_000);

const year = `/pipeline/funnel?from=${at(0)}&to=${at(10 * dayMs)}`;

/** A tenant with opportunities on three days, whose funnel was asked for and is kept. */
async function asked() {
  const tenantId = await cell.tenant();
  const client = cell.client(tenantId);
  const { body: customer } = await client.post("/customers", { body: { name: "Kept" } });
  for (const day of [1, 2, 3]) await importOne(client, customer.customerId, `D${day}`, at(day * dayMs), "10");
  await client.get(year);
  await quiet();
  const { body: list } = await client.get("/opportunities?sort=createdAt");
  const change = (amount: string) => client.patch(`/opportunities/${list.data[0].opportunityId}`, { body: { amount } });
  return { tenantId, client, change };
}

/** The first stage's amount for a process that is started for it, and whether all opportunities were read for it. */
async function askedOfNew(tenantId: string): Promise<{ amount: string; readAll: boolean }> {
  const { sent, stop } = recordStatements();
  try {
    const { body } = await fresh((other) => other.client(tenantId).get(year));
    const all = cohortDays.range.compiled.text.replaceAll('"$tenant"', `"tenant_${tenantId.replaceAll("-", "_")}"`);
    return { amount: body.stages[0].amount, readAll: sent.some(({ text }) => text === all) };
  } finally {
    stop();
  }
}

test("a process that starts reads the days alone that were written to since another has kept them", async () => {
  const { tenantId, change } = await asked();
  expect(await askedOfNew(tenantId)).toEqual({ amount: "30.00", readAll: false });
  expect(await change("15")).toMatchObject({ status: 200 });
  expect(await askedOfNew(tenantId)).toEqual({ amount: "35.00", readAll: false });
  await inspect(tenantId, "delete from $tenant.kept_parts");
  expect(await askedOfNew(tenantId)).toEqual({ amount: "35.00", readAll: true });
});

test("aggregates stored on another server, or before a migration, are not used", async () => {
  const { tenantId, change } = await asked();
  await inspect(tenantId, "update $tenant.kept_parts set snapshot = '900000000000:900000000000:'");
  await change("15");
  expect(await askedOfNew(tenantId)).toEqual({ amount: "35.00", readAll: true });
  await quiet();
  await inspect(tenantId, "update crm.tenants set version = version + 1 where tenant_id = $1", [tenantId]);
  expect(await askedOfNew(tenantId)).toEqual({ amount: "35.00", readAll: true });
});

test("of many questions the most recent ones stay stored", async () => {
  const { tenantId, client } = await asked();
  await inspect(
    tenantId,
    "insert into $tenant.kept_parts select n, snapshot, 0, '', '', '[]', now() - interval '1 day' from $tenant.kept_parts, generate_series(1, 150) as n",
  );
  await client.get(`${year}&currency=USD`);
  await quiet();
  const [stored] = await inspect(
    tenantId,
    "select count(*)::int as all, count(*) filter (where rows <> '[]')::int as known from $tenant.kept_parts",
  );
  expect(stored).toEqual({ all: 101, known: 1 });
});

test("what comes to be stuck in the course of a day is, though its sums are remembered for the day", async () => {
  const client = cell.client(await cell.tenant());
  const { body: customer } = await client.post("/customers", { body: { name: "Stuck" } });
  const stuckNow = Date.now() - 14 * dayMs;
  const yesterday = stuckNow - (stuckNow % dayMs) - 1;
  const stuck = async () => (await client.get("/pipeline/summary")).body.attention.stuck;
  const add = (name: string, createdMs: number) => importOne(client, customer.customerId, name, new Date(createdMs).toISOString(), "1");
  await add("before the day", yesterday);
  await add("at its beginning", yesterday + 1);
  await add("on the day", Math.max(yesterday + 1, stuckNow - 1_000));
  await add("not yet", stuckNow + 3_000);
  expect(await stuck()).toBe(3);
  await expect.poll(stuck, { timeout: 10_000, interval: 200 }).toBe(4);
});

test("another day, be it another timezone's, and another number of days are other questions", async () => {
  const client = cell.client(await cell.tenant());
  const { body: customer } = await client.post("/customers", { body: { name: "Days" } });
  const dayIn = (timezone: string) => new Date().toLocaleDateString("sv-SE", { timeZone: timezone });
  const [west, east] = ["Pacific/Pago_Pago", "Pacific/Kiritimati"] as const;
  const createdAt = new Date(Date.now() - 10 * dayMs).toISOString();
  const item = { customerId: customer.customerId, name: "Due", createdAt, expectedCloseDate: dayIn(west) };
  expect((await client.post("/opportunities/import", { body: { items: [item], mode: "create" } })).body).toMatchObject({ created: 1 });
  const attention = async (settings: object) => {
    expect(await client.patch("/settings", { body: settings })).toMatchObject({ status: 200 });
    const { overdue, stuck } = (await client.get("/pipeline/summary")).body.attention;
    return { overdue, stuck };
  };
  expect(await attention({ timezone: west })).toEqual({ overdue: 0, stuck: 0 });
  expect(await attention({ timezone: east })).toEqual({ overdue: 1, stuck: 0 });
  expect(await attention({ stuckAfterDays: 5 })).toEqual({ overdue: 1, stuck: 1 });
});
