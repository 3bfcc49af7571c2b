import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf, tenantLogin } from "@cell/postgres";
import { parse } from "csv-parse/sync";
import pg from "pg";
import { describe, expect, inject, test } from "vitest";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect, type TestCrm, testLoginSecret } from "../testing/test-crm.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

interface Entry {
  id: string;
  seq: number;
  action: string;
  resourceType: string;
  resourceId: string;
  resourceName: string | null;
  changes: { field: string; before: unknown; after: unknown }[];
}

const example = { name: "某某公司", contactPhone: "13800138000", contactEmail: "contact@example.com" };
const list = async (query = "", client = admin): Promise<Entry[]> => (await client.get(`/audit-logs${query}`)).body.data;
const create = async (body: object = example) => (await admin.post("/customers", { body })).body.customerId as string;

describe("audit entries", () => {
  test("an audit entry has the actor, action, record, time, request and origin", async () => {
    const customerId = await create();
    await admin.patch(`/customers/${customerId}`, {
      body: { contactPhone: "13900139000" },
      key: "req-7",
      headers: { "user-agent": "probe/1", "x-forwarded-for": "203.0.113.9" },
    });
    const [entry] = await list();
    expect(entry).toEqual({
      id: expect.any(String),
      tenantId,
      seq: expect.any(Number),
      occurredAt: expect.stringMatching(/^\d{4}-.*Z$/),
      actorId: "user-001",
      actorType: "user",
      action: "update",
      resourceType: "customer",
      resourceId: customerId,
      resourceName: "某某公司",
      resourceVersion: 2,
      changes: [{ field: "contactPhone", before: "13800138000", after: "13900139000" }],
      requestId: "req-7",
      importId: null,
      ip: "203.0.113.9",
      userAgent: "probe/1",
      seal: null,
      _masked: [],
    });
    expect((await admin.get(`/audit-logs/${entry?.id}`)).body).toEqual(entry);
  });

  test("each kind of write leaves one audit entry per changed record", async () => {
    const customerId = await create();
    const other = await create({ name: "另一家" });
    await admin.patch(`/customers/${customerId}`, { body: { notes: "x" } });
    await admin.delete(`/customers/${customerId}`);
    await admin.post(`/customers/${customerId}/restore`);
    await admin.post(`/customers/${customerId}/merge`, { body: { sourceIds: [other] } });
    await admin.get("/customers?reveal=contactPhone");
    await admin.patch("/settings", { body: { currency: "USD" } });
    const actions = (await list("?pageSize=200")).reverse().map((entry) => `${entry.action} ${entry.resourceType} ${entry.resourceName}`);
    expect(actions).toEqual([
      "create customer 某某公司",
      "create customer 另一家",
      "update customer 某某公司",
      "delete customer 某某公司",
      "restore customer 某某公司",
      "merge customer 某某公司",
      "merge customer 另一家",
      "reveal customer 某某公司",
      `settings settings ${tenantId}`,
    ]);
  });

  test("a write without changes, a replay and a failed write leave no audit entry", async () => {
    const customerId = (await admin.post("/customers", { body: example, key: "once" })).body.customerId;
    const version = { "if-match": '"7"' };
    expect((await admin.post("/customers", { body: example, key: "once" })).status).toBe(201);
    expect((await admin.patch(`/customers/${customerId}`, { body: { name: "某某公司" } })).status).toBe(200);
    expect((await admin.patch("/settings", { body: { currency: "CNY", timezone: null } })).status).toBe(200);
    expect((await admin.post("/customers", { body: example })).status).toBe(409);
    expect((await admin.patch(`/customers/${customerId}`, { body: { name: "x" }, headers: version })).status).toBe(412);
    expect((await admin.delete(`/customers/${customerId}`, { headers: version })).status).toBe(412);
    expect(
      (await cell.client(tenantId, { scope: "own" }).patch(`/customers/${customerId}`, { body: { ownerId: "user-009" } })).status,
    ).toBe(403);
    expect((await admin.patch("/settings", { body: { rates: { CNY: "1" } } })).status).toBe(400);
    expect((await list()).map((entry) => entry.action)).toEqual(["create"]);
  });

  test("fifty concurrent requests with one idempotency key leave one audit entry", async () => {
    await Promise.all(Array.from({ length: 50 }, () => admin.post("/customers", { body: example, key: "burst" })));
    expect(await list()).toHaveLength(1);
  });

  test("a write whose audit entry fails is rolled back", async () => {
    await inspect(tenantId, "alter table $tenant.audit_logs add constraint refused check (resource_name <> 'refused')");
    expect((await admin.post("/customers", { body: { name: "refused" } })).status).toBe(500);
    expect((await admin.get("/customers")).body.total).toBe(0);
  });

  test("audit entries survive their record", async () => {
    const customerId = await create();
    await admin.delete(`/customers/${customerId}`);
    await inspect(tenantId, "delete from $tenant.customers");
    expect((await list(`?resourceId=${customerId}`)).map((entry) => entry.action)).toEqual(["delete", "create"]);
  });

  test("the tenant's login can insert and read audit entries, and neither change nor delete them, nor choose their position", async () => {
    await create();
    await cell.sealAll(tenantId);
    const schema = schemaOf(tenantId);
    const login = tenantLogin(schema, testLoginSecret);
    const url = new URL(inject("databaseUrl"));
    const client = new pg.Client({ host: url.hostname, port: Number(url.port), database: url.pathname.slice(1), ...login });
    await client.connect();
    const columns = "id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id";
    const values = "gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', 'x', '[]', 'r'";
    for (const sql of [
      "update audit_logs set actor_id = 'x'",
      "delete from audit_logs",
      "truncate audit_logs",
      "drop table audit_logs",
      "alter table audit_logs disable trigger all",
      `insert into audit_logs (transaction_id, ${columns}) values (1, ${values})`,
      `insert into audit_logs (seq, ${columns}) overriding system value values (1, ${values})`,
      "insert into audit_seals select * from audit_seals",
      "update audit_seals set sealed_at = now()",
      "delete from audit_seals",
      "truncate audit_seals",
    ]) {
      await expect(client.query(sql.replace(/audit_(logs|seals)/g, `"${schema}".audit_$1`)), sql).rejects.toMatchObject({ code: "42501" });
    }
    await client.query(`insert into "${schema}".audit_logs (${columns}) values (${values})`);
    expect((await client.query(`select from "${schema}".audit_logs`)).rowCount).toBe(2);
    expect((await client.query(`select from "${schema}".audit_seals`)).rowCount).toBe(1);
    await client.end();
  });
});

describe("reading the audit trail", () => {
  test("reading the audit trail needs audit:read, and shows another tenant nothing", async () => {
    await create();
    const [entry] = await list();
    const reader = cell.client(tenantId, { permissions: ["crm:read"] });
    for (const path of ["/audit-logs", `/audit-logs/${entry?.id}`, "/audit-logs/verify", "/audit-logs?format=csv"]) {
      expect((await reader.get(path)).status).toBe(403);
    }
    const foreign = cell.client(await cell.tenant());
    expect(await list("", foreign)).toEqual([]);
    expect((await foreign.get(`/audit-logs/${entry?.id}`)).status).toBe(404);
  });

  test("the audit trail is newest first; pages and cursors return every entry once during writes", async () => {
    for (let index = 0; index < 25; index++) await create({ name: `c${index}` });
    const all = (await list("?pageSize=200")).map((entry) => entry.seq);
    expect(all).toEqual([...all].sort((a, b) => b - a));
    const read: number[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const response = await admin.get(`/audit-logs?pageSize=7&cursor=${cursor}`);
      expect(response.body).toMatchObject({ total: 25, pageSize: 7 });
      read.push(...response.body.data.map((entry: Entry) => entry.seq));
      cursor = response.body.nextCursor;
      await create({ name: `while walking ${read.length}` });
    }
    expect(read).toEqual(all);
    expect((await admin.get("/audit-logs?page=2&pageSize=20")).body).toMatchObject({ page: 2, pageSize: 20, total: 29 });
  });

  test("the audit trail can be filtered by record, action, actor and request", async () => {
    const customerId = await create();
    await cell.client(tenantId, { userId: "user-002" }).patch(`/customers/${customerId}`, { body: { notes: "x" }, key: "the-request" });
    await create({ name: "other" });
    const seen = async (query: string) => (await list(query)).map((entry) => `${entry.action} ${entry.resourceName}`);
    expect(await seen(`?resourceType=customer&resourceId=${customerId}`)).toEqual(["update 某某公司", "create 某某公司"]);
    expect(await seen("?action=create")).toEqual(["create other", "create 某某公司"]);
    expect(await seen("?actorId=user-002")).toEqual(["update 某某公司"]);
    expect(await seen("?requestId=the-request")).toEqual(["update 某某公司"]);
    expect(await seen("?resourceType=settings")).toEqual([]);
    expect((await admin.get("/audit-logs?action=create&pageSize=1")).body.total).toBe(2);
  });

  test("the audit trail can be filtered by time: half-open, a date is a whole day in the tenant's timezone", async () => {
    for (const name of ["a", "b", "c", "d"]) await create({ name });
    const at = (name: string, time: string) =>
      inspect(tenantId, `update $tenant.audit_logs set occurred_at = '${time}' where resource_name = '${name}'`);
    await at("a", "2026-01-30T23:59:59.999Z");
    await at("b", "2026-01-31T00:00:00Z");
    await at("c", "2026-01-31T23:59:59.999999Z");
    await at("d", "2026-02-01T00:00:00Z");
    const seen = async (query: string) => (await list(`?resourceType=customer&${query}`)).map((entry) => entry.resourceName).join("");
    expect(await seen("from=2026-01-31&to=2026-01-31")).toBe("cb");
    expect(await seen("from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z")).toBe("cb");
    expect(await seen("to=2026-01-31T00:00:00.001Z")).toBe("ba");
    expect(await seen("from=2026-01-31T08:00:00%2B08:00&to=2026-02-01")).toBe("dcb");
    await admin.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
    expect(await seen("from=2026-01-31&to=2026-01-31")).toBe("ba");
  });

  test.each([
    ["resourceType=nonsense", /customer, .*settings/],
    ["resourceType=__proto__", /customer/],
    ["action=destroy", /create, update, delete, restore, merge, import, export, reveal, settings/],
    ["from=yesterday", /date/],
    ["from=2026-02-30", /date/],
    ["to=2026-01-01T00:00:00", /date/],
    ["from=0000-01-01", /date/],
    ["sort=seq", /known/],
    ["cursor=abc", /cursor/],
    ["format=xml", /json, csv/],
  ])("%s is a BAD_REQUEST that says what would be right", async (query, message) => {
    const { status, body } = await admin.get(`/audit-logs?${query}`);
    expect([status, body.code]).toEqual([400, "BAD_REQUEST"]);
    expect(body.message).toMatch(message);
  });

  test("audit changes are masked for callers that may not read them, in list, detail and file; the name stays", async () => {
    const customerId = await create();
    await admin.patch(`/customers/${customerId}`, { body: { contactPhone: "13900139000", notes: "n" } });
    const auditor = cell.client(tenantId, { permissions: ["audit:read"] });
    const [update, created] = await list("", auditor);
    expect(update).toMatchObject({
      resourceName: "某某公司",
      changes: [
        { field: "contactPhone", before: "138****8000", after: "139****9000" },
        { field: "notes", before: null, after: "n" },
      ],
      _masked: ["contactPhone"],
    });
    expect(created).toMatchObject({ _masked: ["contactPhone", "contactEmail"] });
    expect((await auditor.get(`/audit-logs/${update?.id}`)).body).toEqual(update);
    const file = await auditor.get("/audit-logs?format=csv");
    for (const secret of ["13800138000", "13900139000", "contact@example.com"]) {
      expect(JSON.stringify([update, created]) + file.text).not.toContain(secret);
      expect((await admin.get("/audit-logs?format=csv")).text).toContain(secret);
    }
  });

  test("audit entries of an unknown resource are masked unless the caller may read everything", async () => {
    await create();
    await inspect(tenantId, `update $tenant.audit_logs set resource_type = 'gone'`);
    const half = cell.client(tenantId, { permissions: ["audit:read", "pii:read"] });
    expect((await list("", half))[0]?.changes).toContainEqual({ field: "name", before: null, after: "****" });
    expect((await list())[0]?.changes).toContainEqual({ field: "name", before: null, after: "某某公司" });
  });
});

describe("the audit trail's CSV file", () => {
  test("the audit trail's CSV file has every match, newest first, guarded against formulas, and is itself audited with its number of rows", async () => {
    const formula = await create({ name: '=1+1,"x"' });
    for (let index = 0; index < 30; index++) await create({ name: `c${index}` });
    const response = await admin.get("/audit-logs?format=csv&action=create&pageSize=5");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    expect(response.headers.get("content-disposition")).toContain("audit-logs.csv");
    const rows: Record<string, string>[] = parse(response.text, { bom: true, columns: true });
    expect(rows).toHaveLength(31);
    expect(rows.at(-1)).toMatchObject({ resourceId: formula, resourceName: `'=1+1,"x"`, tenantId });
    expect(JSON.parse(rows.at(-1)?.changes ?? "")).toContainEqual({ field: "name", before: null, after: '=1+1,"x"' });
    const [entry] = await list("?resourceType=auditLog");
    expect(entry).toMatchObject({ action: "export", resourceId: tenantId });
    expect(entry?.changes.map(({ field, after }) => [field, after])).toEqual([
      ["format", "csv"],
      ["filter", { action: "create" }],
      ["fields", expect.arrayContaining(["seq", "changes"])],
      ["rows", 31],
      ["completed", true],
    ]);
  });
});
