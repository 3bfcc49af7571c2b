import { type IncomingMessage, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { inspect, startCrm, type TestCrm } from "../testing/test-crm.ts";

/** More than the sockets between a cell and a reader hold. */
const rows = 6_000;

const customersOf = (tenantId: string) =>
  inspect(
    tenantId,
    `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, custom_fields, created_at, updated_at, version)
      select gen_random_uuid(), 'N' || i, 'n' || i, 'lead', 'u', '{}', json_build_object('a', repeat('x', 4000)), now(), now(), 1 from generate_series(1, ${rows}) i`,
  );
const entriesOf = (tenantId: string) =>
  inspect(
    tenantId,
    `insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
      select gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', i::text, json_build_array(json_build_object('field', 'notes', 'before', null, 'after', repeat('x', 4000))), 'r' from generate_series(1, ${rows}) i`,
  );

/** Opens an answer and reads nothing of it. */
function open({ url }: TestCrm, client: TestClient, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(url + path, { headers: client.headers(), agent: false }, (response) => {
      response.on("error", () => undefined);
      resolve(response.pause());
    });
    sent.on("error", reject);
    sent.end();
  });
}

const statements = async (tenantId: string) =>
  (await inspect<{ state: string }>(tenantId, "select state from pg_stat_activity where usename = $1", [schemaOf(tenantId)])).filter(
    ({ state }) => state !== "idle",
  ).length;
const until = async (reached: () => Promise<boolean>) => {
  while (!(await reached())) await sleep(50);
};

describe("files in progress", () => {
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

  test("a tenant has at most four files in progress; then 429 says when to retry, and everything else is served", async () => {
    await customersOf(tenantId);
    await entriesOf(tenantId);
    const report = await admin.post("/customers/import", { body: { items: [{ name: "" }] } });
    const paths = [
      "/customers/export?format=csv",
      "/audit-logs?format=csv",
      "/opportunities/export?format=csv",
      report.body.errorFileUrl.slice("/api/v1/crm".length),
    ];
    const slow = await Promise.all(
      ["/customers/export?format=csv", "/audit-logs?format=csv"].flatMap((path) => [path, path].map((each) => open(cell, admin, each))),
    );
    try {
      expect(slow.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
      for (const path of paths) {
        const refused = await admin.get(path);
        expect([path, refused.status, refused.body.code]).toEqual([path, 429, "RATE_LIMITED"]);
        expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      }
      expect((await admin.get("/customers?pageSize=200")).status).toBe(200);
      expect((await admin.post("/customers", { body: { name: "served" } })).status).toBe(201);
      expect((await admin.get("/customers/export")).status).toBe(200);
      expect((await admin.get("/audit-logs/verify")).status).toBe(200);
      const other = cell.client(await cell.tenant());
      expect((await other.get("/customers/export?format=csv")).status).toBe(200);
    } finally {
      for (const response of slow) response.destroy();
    }
    await until(async () => (await admin.get("/customers/export?format=csv&keyword=nobody")).status === 200);
    for (const path of paths) expect([path, (await admin.get(path)).status]).toEqual([path, 200]);
  });

  test("files in progress of all tenants leave half of the connections", async () => {
    const few = await startCrm({ files: { inAll: 2 } });
    const [one, two] = [await few.tenant(), await few.tenant()];
    await customersOf(one);
    const slow = await Promise.all([1, 2].map(() => open(few, few.client(one), "/customers/export?format=csv")));
    try {
      const refused = await few.client(two).get("/customers/export?format=csv");
      expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "10"]);
    } finally {
      for (const response of slow) response.destroy();
      await few.stop();
    }
  });

  test("files whose reader leaves free their connections, and so do pages that are never read", async () => {
    await customersOf(tenantId);
    const slow = await open(cell, admin, "/customers/export?format=csv");
    expect(await statements(tenantId)).toBe(1);
    slow.destroy();
    await until(async () => (await statements(tenantId)) === 0);
    const pages = await Promise.all(Array.from({ length: 20 }, () => open(cell, admin, "/customers?pageSize=200")));
    expect(pages.every(({ statusCode }) => statusCode === 200)).toBe(true);
    expect(await statements(tenantId)).toBe(0);
    for (const page of pages) page.destroy();
  });
});

describe("a reader that takes less than 16 KB a second", () => {
  afterEach(() => {
    vi.useRealTimers();
  });
  let cell: TestCrm;
  let tenantId: string;
  let admin: TestClient;

  beforeAll(async () => {
    cell = await startCrm({ files: { windowMs: 500 } });
    tenantId = await cell.tenant();
    admin = cell.client(tenantId);
    await customersOf(tenantId);
    await entriesOf(tenantId);
  });
  afterAll(() => cell.stop());

  test.each(["/customers/export?format=csv", "/audit-logs?format=csv"])(
    "of %s is cut off, its connection is free, and the export is recorded as incomplete",
    async (path) => {
      const recorded = () =>
        inspect<{ changes: { field: string; after: unknown }[] }>(
          tenantId,
          "select changes from $tenant.audit_logs where action = 'export' order by seq",
        );
      const before = (await recorded()).length;
      const response = await open(cell, admin, path);
      expect(response.statusCode).toBe(200);
      await until(async () => (await recorded()).length > before);
      await until(async () => (await statements(tenantId)) === 0);
      await expect(
        (async () => {
          for await (const _ of response);
        })(),
      ).rejects.toMatchObject({ code: "ECONNRESET" });
      expect((await recorded()).at(-1)?.changes).toContainEqual({ field: "completed", before: null, after: false });
    },
  );

  test("a reader that pauses and then continues is not cut off", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    const response = await open(cell, admin, "/customers/export?format=csv");
    let taken = 0;
    let pausedAt = 0;
    for await (const chunk of response) {
      taken += (chunk as Buffer).length;
      if (taken - pausedAt < 1024 * 1024) continue;
      pausedAt = taken;
      vi.advanceTimersByTime(100);
    }
    expect(taken).toBeGreaterThan(rows * 4_000);
  });
});
