import { sweepTenant } from "@cell/cell/commands/idempotency-sweeper";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { inspect, startCrm, storedResponses, type TestCrm } from "./testing/test-crm.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  cell = await startCrm();
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
});
afterAll(() => cell.stop());

async function restart(): Promise<void> {
  await cell.stop();
  cell = await startCrm();
  admin = cell.client(tenantId);
}

const create = (name: string) => admin.post("/customers", { body: { name }, key: "the-key" });
const age = (interval: string) => inspect(tenantId, `update $tenant.idempotency_keys set created_at = created_at - interval '${interval}'`);

describe("a key is new again after 24 hours, even before it is swept, and not earlier", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  test("where its answer is in memory", async () => {
    const { text } = await create("one");
    const later = Date.now() + 24 * 60 * 60 * 1000;
    vi.useFakeTimers({ toFake: ["Date"], now: later - 60_000 });
    expect((await create("one")).text).toBe(text);
    expect((await create("two")).status).toBe(409);
    vi.setSystemTime(later);
    await expectNew("two");
  });

  test("where only the database knows it", async () => {
    const { text } = await create("one");
    await age("23 hours 59 minutes");
    await restart();
    expect((await create("one")).text).toBe(text);
    expect((await create("two")).status).toBe(409);
    await age("1 minute");
    await restart();
    await expectNew("two");
  });

  async function expectNew(name: string): Promise<void> {
    const second = await create(name);
    expect([second.status, second.headers.get("idempotency-replayed")]).toEqual([201, null]);
    expect((await create(name)).headers.get("idempotency-replayed")).toBe("true");
  }
});

test("the sweep removes what is older than 24 hours, and nothing else", async () => {
  await create("one");
  await age("24 hours");
  await inspect(
    tenantId,
    `insert into $tenant.idempotency_keys select sha256(n::text::bytea), fingerprint, status, body, resource_id, created_at
     from $tenant.idempotency_keys, generate_series(1, 1200) n`,
  );
  await admin.post("/customers", { body: { name: "young" }, key: "young" });
  expect(await sweepTenant(cell.registry, tenantId)).toBe(1201);
  expect(await storedResponses(tenantId)).toBe(1);
});

test("the sweep passes by a key that a writer holds", async () => {
  await create("one");
  await age("25 hours");
  const client = new pg.Client({ connectionString: inject("databaseUrl") });
  await client.connect();
  await client.query("begin");
  await client.query(`select from "${schemaOf(tenantId)}".idempotency_keys for update`);
  expect(await sweepTenant(cell.registry, tenantId)).toBe(0);
  await client.query("rollback");
  await client.end();
  expect(await sweepTenant(cell.registry, tenantId)).toBe(1);
});
