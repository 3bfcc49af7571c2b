import { keyword } from "@cell/cell";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { version } from "@cell/http";
import { tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { expect, test, vi } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect, startCrm } from "./testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ cell, tenantId, admin } = given);
});

const bare = (path: string, headers: Record<string, string> = {}) => fetch(cell.url + path, { headers });

test("health, readiness and the documents need no tenant and no token", async () => {
  const health = await bare("/health");
  expect([health.status, await health.json()]).toEqual([200, { status: "ok", version }]);
  const ready = await bare("/ready");
  expect([ready.status, await ready.json()]).toEqual([200, { status: "ready", checks: { database: "ok", draining: false } }]);
  const document = await bare("/openapi.json");
  expect([document.status, await document.json()]).toMatchObject([
    200,
    { openapi: expect.stringMatching(/^3\.1\./), servers: [{ url: cell.url }] },
  ]);
  const docs = await bare("/docs");
  expect([docs.status, docs.headers.get("content-type")]).toEqual([200, expect.stringMatching(/^text\/html/)]);
});

test("HEAD is answered with the head of GET, on a connection that goes on, and no fault is noted", async () => {
  const faults = vi.spyOn(console, "error");
  const { customerId } = (await admin.post("/customers", { body: { name: "Heads" } })).body;
  for (const path of [
    `/customers/${customerId}`,
    "/customers",
    "/customers/export?format=csv",
    "/pipeline/funnel",
    "/reports/funnel?format=csv",
  ]) {
    const head = await fetch(cell.url + path, { method: "HEAD", headers: admin.headers() });
    const whole = await fetch(cell.url + path, { headers: admin.headers() });
    const text = await whole.text();
    expect([head.status, await head.text()]).toEqual([200, ""]);
    for (const name of ["content-type", "etag", "content-disposition", "cache-control"])
      expect(head.headers.get(name)).toBe(whole.headers.get(name));
    const length = head.headers.get("content-length");
    if (length !== null && !path.includes("unnel")) expect(Number(length)).toBe(Buffer.byteLength(text));
  }
  expect(faults).not.toHaveBeenCalled();
});

test("Prometheus' metrics hold no tenant and no personal data", async () => {
  const body = { name: "Nobody's business", contactPhone: "13700137000" };
  const { customerId } = (await admin.post("/customers", { body })).body;
  await admin.get(`/customers/${customerId}`);
  await admin.get(`/customers?filter=contactPhone[eq]:${body.contactPhone}`);
  const text = await cell.metrics();
  expect(text).toContain('route="/customers/{id}"');
  for (const secret of [tenantId, customerId, body.name, body.contactPhone]) expect(text).not.toContain(secret);
});

test("while the database is away the cell is alive and not ready", async () => {
  const databaseUrl = "postgres://nobody:nothing@127.0.0.1:1/away";
  const away = await startCrm({ databaseUrl, isAway: true });
  expect((await fetch(`${away.url}/health`)).status).toBe(200);
  const ready = await fetch(`${away.url}/ready`);
  expect([ready.status, ready.headers.get("retry-after"), await ready.json()]).toEqual([
    503,
    "1",
    {
      code: "UNAVAILABLE",
      message: "The database is away",
      requestId: ready.headers.get("x-request-id"),
      details: { checks: { database: "away", draining: false } },
    },
  ]);
  await away.stop();
});

test("an unknown path is NOT_FOUND, and every answer carries a request id: the caller's, else one made here", async () => {
  const unknown = await bare("/nothing/here", { "x-request-id": "mine" });
  expect([unknown.status, unknown.headers.get("x-request-id"), await unknown.json()]).toMatchObject([
    404,
    "mine",
    { code: "NOT_FOUND", requestId: "mine" },
  ]);
  for (const path of ["/health", "/ready", "/nothing", "/customers"]) {
    expect((await bare(path)).headers.get("x-request-id"), path).toMatch(/^req-/);
  }
  const answered = await admin.get("/customers", { key: "read-1" });
  expect(answered.headers.get("x-request-id")).toBe("read-1");
});

test("who may read everything and write nothing is refused at each route that writes", async () => {
  const permissions = ["crm:read", "crm:export", "report:read", "audit:read", "pii:read", "amount:read"] as const;
  const auditor = cell.client(tenantId, { permissions: [...permissions] });
  const paths = Object.entries((cell.document as { paths: Record<string, Record<string, unknown>> }).paths);
  for (const [path, operations] of paths) {
    for (const method of ["post", "patch", "delete"].filter((name) => name in operations && !path.startsWith("/internal"))) {
      const response = await auditor.send(method.toUpperCase(), path.replace("{id}", "00000000-0000-4000-8000-000000000000"), { body: {} });
      expect([response.status, response.body.code], `${method} ${path}`).toEqual([403, "FORBIDDEN"]);
    }
  }
  for (const path of ["/customers", "/audit-logs", "/pipeline/summary", "/contracts"]) expect((await auditor.get(path)).status).toBe(200);
});

test("an INTERNAL says nothing of the inside", async () => {
  const own = await cell.tenant();
  await inspect(own, "alter table $tenant.customers add constraint inner_rule check (name <> 'broken')");
  const response = await cell.client(own).post("/customers", { body: { name: "broken" }, key: "broken" });
  expect([response.status, response.body]).toEqual([500, { code: "INTERNAL", message: expect.any(String), requestId: "broken" }]);
  expect(response.text).not.toMatch(/inner_rule|customers|constraint|select|insert/i);
});

test("each record on its own carries its version as ETag, gives 304 to who has it, and refuses a stale If-Match", async () => {
  const { customerId } = (await admin.post("/customers", { body: { name: "Of tags" } })).body;
  const { contactId } = (await admin.post("/contacts", { body: { customerId, name: "Tagged" } })).body;
  const { opportunityId } = (await admin.post("/opportunities", { body: { customerId, name: "Tagged" } })).body;
  const { contractId } = (await admin.post("/contracts", { body: { customerId, name: "Tagged", amount: "1" } })).body;
  const { pipelineId } = (await admin.get("/pipelines")).body.data[0];
  const records = [`customers/${customerId}`, `contacts/${contactId}`, `opportunities/${opportunityId}`, `contracts/${contractId}`];
  for (const path of [...records, `pipelines/${pipelineId}`, "settings"].map((record) => `/${record}`)) {
    const got = await admin.get(path);
    const etag = got.headers.get("etag") ?? "";
    expect(etag, path).toBe(`"${got.body.version}"`);
    expect((await admin.get(path, { headers: { "if-none-match": etag } })).status, path).toBe(304);
    const change = path === "/settings" ? { timezone: "Asia/Tokyo" } : { name: "Changed" };
    const stale = await admin.patch(path, { body: change, headers: { "if-match": '"999"' } });
    expect([stale.status, stale.body.code], path).toEqual([412, "VERSION_CONFLICT"]);
  }
});

test("another tenant's record cannot be changed, deleted or referred to, and looks like none", async () => {
  const foreign = cell.client(await cell.tenant());
  const { customerId } = (await foreign.post("/customers", { body: { name: "Foreign" } })).body;
  for (const response of [
    await admin.patch(`/customers/${customerId}`, { body: { level: "A" } }),
    await admin.delete(`/customers/${customerId}`),
    await admin.post("/contacts", { body: { customerId, name: "x" } }),
    await admin.post("/opportunities", { body: { customerId, name: "x" } }),
    await admin.post("/contracts", { body: { customerId, name: "x", amount: "1" } }),
  ])
    expect([response.status, response.body.code]).toEqual([404, "NOT_FOUND"]);
  expect((await foreign.get(`/customers/${customerId}`)).body.version).toBe(1);
});

test("the children of a deleted customer stay, and keep counting in reports", async () => {
  const own = cell.client(await cell.tenant());
  const { customerId } = (await own.post("/customers", { body: { name: "With children" } })).body;
  const { opportunityId } = (await own.post("/opportunities", { body: { customerId, name: "Child", amount: "100" } })).body;
  await own.delete(`/customers/${customerId}`);
  expect((await own.get("/pipeline/summary")).body.totals).toMatchObject({ count: 1, amount: "100.00" });
  expect((await own.get("/pipeline/funnel")).body).toMatchObject({ cohort: 1, open: 1 });
  expect((await own.get(`/opportunities/${opportunityId}`)).status).toBe(200);
});

test("a keyword is looked up in an index, however short, and of whatever characters", async () => {
  const plan = async (term: string) => {
    const { values, sql: condition } = keyword(term);
    const query = condition(values.map((value) => sql.val(value))).compile(tenantTables<object>());
    const explained = `explain select customer_id from $tenant.customers where deleted_at is null and ${query.sql}`;
    const rows = await inspect<{ "QUERY PLAN": string }>(tenantId, explained, [...query.parameters]);
    return rows.map((row) => row["QUERY PLAN"]).join(" ");
  };
  await inspect(
    tenantId,
    `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, custom_fields, created_at, updated_at, version)
     select gen_random_uuid(), 'Counted ' || n, 'counted ' || n, 'lead', 'user-001', '{}', '{}', now(), now(), 1 from generate_series(1, 10100) n`,
  );
  await inspect(tenantId, "vacuum analyze $tenant.customers");
  expect(await plan("华兴贸易")).toContain("customers_search");
  for (const term of ["华兴", "华", "1 N", "...", "- -", "😀a"]) expect(await plan(term)).toContain("customers_grams");
});

test("past 10,000 matches the total is a bound and says so; total=exact counts all", async () => {
  const all = (await admin.get("/customers?total=exact&keyword=counted")).body;
  expect([all.total, all.totalIsLowerBound]).toEqual([10_100, undefined]);
  expect((await admin.get("/customers?keyword=counted")).body).toMatchObject({ total: 10_000, totalIsLowerBound: true });
  const some = (await admin.get("/customers?keyword=counted%2010")).body;
  expect(some).not.toHaveProperty("totalIsLowerBound");
});
