import { openPool } from "@cell/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, type IssuedKey, issueKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";

let cell: TestCell;
let database: string;
let gateway: TestGateway;
/** A second gateway process, as far as the control plane can tell. */
let other: TestGateway;

beforeAll(async () => {
  cell = await startTestCell();
  database = await createDatabase();
  gateway = await startTestGateway(database, `crm=${cell.url}`);
  other = await startTestGateway(database, `crm=${cell.url}`);
});

afterAll(async () => {
  await Promise.all([gateway.stop(), other.stop()]);
  await cell.close();
});

const statusAt = async (at: TestGateway, { key }: IssuedKey, tenantId: string) =>
  (await at.call("/api/v1/crm/customers", { key, tenantId })).status;

/** Runs SQL that no route could cause. */
async function inDatabase(work: (pool: ReturnType<typeof openPool>) => Promise<unknown>): Promise<void> {
  const pool = openPool({ url: database, applicationName: "test", max: 1 });
  await work(pool);
  await pool.end();
}

/** Resolves to the milliseconds until the call's status was `status`. */
async function until(status: number, call: () => Promise<number>): Promise<number> {
  const startedAt = Date.now();
  while ((await call()) !== status) {
    if (Date.now() - startedAt > 10_000) throw new Error(`no ${status} within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Date.now() - startedAt;
}

test("a tenant is created in the cells, listed, renamed, suspended, resumed and dropped", async () => {
  const created = await gateway.call("/api/admin/tenants", { json: { tenantId: "life", name: "Life Ltd" } });
  expect(created.status).toBe(201);
  expect(created.body).toMatchObject({ status: "active", placements: [{ cell: "crm", partition: "crm-1", provisioned: true }] });
  expect(cell.tenants).toContain("life");
  expect((await gateway.call("/api/admin/tenants", { json: { tenantId: "life", name: "Again" } })).body.code).toBe("CONFLICT");

  const list = await gateway.call<{ data: { tenantId: string }[]; total: number }>("/api/admin/tenants?pageSize=200");
  expect(list.body.data.map(({ tenantId }) => tenantId)).toContain("life");
  const renamed = await gateway.call("/api/admin/tenants/life", { method: "PATCH", json: { name: "New" } });
  expect(renamed.body).toMatchObject({ name: "New", status: "active" });

  const key = await issueKey(gateway, { tenantId: "life" });
  expect(await statusAt(other, key, "life")).toBe(200);
  await gateway.call("/api/admin/tenants/life", { method: "PATCH", json: { status: "suspended" } });
  expect(await statusAt(gateway, key, "life")).toBe(403);
  expect(await until(403, () => statusAt(other, key, "life"))).toBeLessThan(5_000);
  await gateway.call("/api/admin/tenants/life", { method: "PATCH", json: { status: "active" } });
  expect(await until(200, () => statusAt(other, key, "life"))).toBeLessThan(5_000);

  expect((await gateway.call("/api/admin/tenants/life", { method: "DELETE" })).status).toBe(400);
  expect((await gateway.call("/api/admin/tenants/life?confirm=wrong", { method: "DELETE" })).status).toBe(400);
  const dropped = await gateway.call("/api/admin/tenants/life?confirm=life", { method: "DELETE" });
  expect(dropped.body).toEqual({ tenantId: "life", deleted: true });
  expect(cell.tenants).not.toContain("life");
  expect((await gateway.call("/api/admin/tenants/life")).status).toBe(404);
  expect(await statusAt(gateway, key, "life")).toBe(401);
});

test("a tenant's creation or deletion that failed in a cell is finished by repeating the request", async () => {
  const create = () => gateway.call("/api/admin/tenants", { json: { tenantId: "half", name: "Half" } });
  cell.failing = true;
  expect((await create()).body.code).toBe("UNAVAILABLE");
  const key = await issueKey(gateway, { tenantId: "half" });
  expect(await statusAt(gateway, key, "half")).toBe(503);
  cell.failing = false;
  expect((await create()).status).toBe(201);
  expect(await statusAt(gateway, key, "half")).toBe(200);
  cell.failing = true;
  const drop = () => gateway.call("/api/admin/tenants/half?confirm=half", { method: "DELETE" });
  expect((await drop()).status).toBe(503);
  expect(await statusAt(gateway, key, "half")).toBe(503);
  cell.failing = false;
  expect((await drop()).status).toBe(200);
  expect((await drop()).status).toBe(404);
});

test("twenty concurrent creations of one tenant create one tenant", async () => {
  const all = await Promise.all(
    Array.from({ length: 20 }, () => gateway.call("/api/admin/tenants", { json: { tenantId: "race", name: "Race" } })),
  );
  expect(all.every(({ status }) => status === 201 || status === 409)).toBe(true);
  expect(all.some(({ status }) => status === 201)).toBe(true);
});

test("an API key is shown once, and the list shows neither it nor its hash", async () => {
  const issued = await createTenant(gateway, "keys");
  const list = await gateway.call<{ data: { keyId: string; prefix: string }[] }>("/api/admin/keys?tenantId=keys");
  expect(list.body.data).toHaveLength(1);
  expect(list.text).not.toContain(issued.key);
  expect(list.text).not.toContain("hash");
  expect(issued.key).toMatch(/^crm_live_[A-Za-z0-9_-]{32}$/);
  expect(issued.key.startsWith(list.body.data[0]?.prefix ?? "?")).toBe(true);
});

test("a revoked key is rejected immediately here, and by every other gateway within 5 seconds", async () => {
  const issued = await createTenant(gateway, "revoke");
  expect([await statusAt(gateway, issued, "revoke"), await statusAt(other, issued, "revoke")]).toEqual([200, 200]);
  const revoked = await gateway.call(`/api/admin/keys/${issued.keyId}`, { method: "DELETE" });
  expect(revoked.body).toEqual({ keyId: issued.keyId, revoked: true });
  expect(await statusAt(gateway, issued, "revoke")).toBe(401);
  expect(await until(401, () => statusAt(other, issued, "revoke"))).toBeLessThan(5_000);
});

test("rotation issues a new key with the same rights; the old one expires after its grace period", async () => {
  const old = await createTenant(gateway, "rotate", { role: "sales", userId: "sales-1", name: "laptop" });
  const rotated = await gateway.call<IssuedKey>(`/api/admin/keys/${old.keyId}/rotate`, { json: { graceSeconds: 1 } });
  expect(rotated.status).toBe(201);
  expect(rotated.body).toMatchObject({ role: "sales", userId: "sales-1", name: "laptop", rotatedFrom: old.keyId, tenantId: "rotate" });
  expect([await statusAt(gateway, old, "rotate"), await statusAt(gateway, rotated.body, "rotate")]).toEqual([200, 200]);
  expect(await until(401, () => statusAt(gateway, old, "rotate"))).toBeLessThan(3_000);
  expect((await gateway.call(`/api/admin/keys/${old.keyId}/rotate`, { json: {} })).body.code).toBe("CONFLICT");
  const again = await gateway.call<IssuedKey>(`/api/admin/keys/${rotated.body.keyId}/rotate`, { method: "POST" });
  expect(again.status).toBe(201);
  expect(await statusAt(gateway, rotated.body, "rotate")).toBe(401);
});

test("a tenant's administrator manages the keys of its own tenant and sees no others", async () => {
  const admin = await createTenant(gateway, "own", { userId: "boss" });
  const foreign = await createTenant(gateway, "foreign");
  const { key } = admin;
  const made = await gateway.call<IssuedKey>("/api/admin/keys", { key, json: { userId: "u1", role: "sales" } });
  expect(made.body).toMatchObject({ tenantId: "own", role: "sales" });
  const list = await gateway.call<{ data: { tenantId: string }[]; total: number }>("/api/admin/keys", { key });
  expect(list.body.total).toBe(2);
  expect(new Set(list.body.data.map(({ tenantId }) => tenantId))).toEqual(new Set(["own"]));
  expect((await gateway.call("/api/admin/keys?tenantId=foreign", { key })).status).toBe(404);
  expect((await gateway.call("/api/admin/keys", { key, json: { tenantId: "foreign", userId: "u", role: "sales" } })).status).toBe(404);
  expect((await gateway.call(`/api/admin/keys/${foreign.keyId}`, { key, method: "DELETE" })).status).toBe(404);
  expect((await gateway.call(`/api/admin/keys/${foreign.keyId}/rotate`, { key, json: {} })).status).toBe(404);
  expect(await statusAt(gateway, foreign, "foreign")).toBe(200);
  expect((await gateway.call("/api/admin/keys", { key, tenantId: "foreign" })).body.code).toBe("TENANT_MISMATCH");
});

test("nobody can grant, or obtain by rotation, rights that they do not hold", async () => {
  const strong = await createTenant(gateway, "grant");
  const weak = await issueKey(gateway, { tenantId: "grant", userId: "weak", role: "sales", permissions: ["crm:read", "tenant:admin"] });
  const refused = async (json: Record<string, unknown>) => (await gateway.call("/api/admin/keys", { key: weak.key, json })).status;
  expect(await refused({ userId: "u", role: "manager" })).toBe(403);
  expect(await refused({ userId: "u", role: "sales", permissions: ["crm:write"] })).toBe(403);
  expect(await refused({ userId: "u", role: "manager", permissions: ["crm:read"] })).toBe(403);
  expect(await refused({ userId: "u", role: "sales", permissions: ["crm:read"] })).toBe(403);
  expect(await refused({ userId: "weak", role: "sales", permissions: ["crm:read"], actAs: true })).toBe(403);
  expect(await refused({ userId: "weak", role: "sales", permissions: ["crm:read"] })).toBe(201);
  const other = await issueKey(gateway, { tenantId: "grant", userId: "u", role: "sales", permissions: ["crm:read"] });
  expect((await gateway.call(`/api/admin/keys/${other.keyId}/rotate`, { key: weak.key, json: {} })).status).toBe(403);
  expect((await gateway.call(`/api/admin/keys/${other.keyId}`, { method: "DELETE", key: weak.key })).status).toBe(403);
  const seen = await gateway.call<{ data: { keyId: string; userId: string }[]; total: number }>("/api/admin/keys", { key: weak.key });
  expect([seen.body.total, new Set(seen.body.data.map(({ userId }) => userId))]).toEqual([2, new Set(["weak"])]);
  const [mine] = seen.body.data;
  expect((await gateway.call(`/api/admin/keys/${mine?.keyId}`, { method: "DELETE", key: weak.key })).status).toBe(200);
  expect(await refused({ userId: "u", role: "sales", permissions: ["cell:admin"] })).toBe(400);
  expect((await gateway.call(`/api/admin/keys/${strong.keyId}/rotate`, { key: weak.key, json: {} })).status).toBe(403);
  const admin = await gateway.call("/api/admin/keys", {
    json: { tenantId: "grant", userId: "u", role: "admin", permissions: ["cell:admin"] },
  });
  expect(admin.status).toBe(400);
});

test("a key limited to its own user's records cannot act for others, whether issued, used or rotated", async () => {
  const { key } = await createTenant(gateway, "acting");
  const issue = { userId: "sales-1", role: "sales", actAs: true };
  const refused = await gateway.call<{ details: { fields: unknown[] } }>("/api/admin/keys", { key, json: issue });
  expect([refused.status, refused.body.details.fields]).toEqual([400, [expect.objectContaining({ path: "actAs" })]]);
  expect((await gateway.call("/api/admin/keys", { json: { ...issue, tenantId: "acting" } })).status).toBe(400);
  expect((await gateway.call("/api/admin/keys", { key, json: { ...issue, role: "manager" } })).status).toBe(201);

  // As it could be issued before.
  const old = await issueKey(gateway, { tenantId: "acting", userId: "sales-1", role: "sales" });
  await inDatabase((pool) => pool.query("update gateway.api_keys set act_as = true where key_id = $1", [old.keyId]));
  const headers = { "x-user-id": "sales-2" };
  const uses = async (given: IssuedKey) =>
    (await gateway.call("/api/v1/crm/customers", { key: given.key, tenantId: "acting", headers })).body.code;
  expect(await uses(old)).toBe("FORBIDDEN");
  expect(await statusAt(gateway, old, "acting")).toBe(200);
  const rotated = await gateway.call<IssuedKey>(`/api/admin/keys/${old.keyId}/rotate`, { key, json: { graceSeconds: 60 } });
  expect(rotated.body).toMatchObject({ userId: "sales-1", actAs: false });
  expect(await uses(rotated.body)).toBe("FORBIDDEN");
  const list = await gateway.call<{ data: { role: string; actAs: boolean }[] }>("/api/admin/keys", { key });
  expect(list.body.data.filter(({ actAs }) => actAs).map(({ role }) => role)).toEqual(["manager"]);
});

test("an auditor lists the keys of its own tenant, without secrets, and cannot change them", async () => {
  const admin = await createTenant(gateway, "audited");
  await createTenant(gateway, "not-audited");
  const { key } = await issueKey(gateway, { tenantId: "audited", userId: "auditor-1", role: "auditor" });
  const list = await gateway.call<{ data: { tenantId: string; userId: string }[]; total: number }>("/api/admin/keys", { key });
  expect([list.status, list.body.total]).toEqual([200, 2]);
  expect(list.body.data).toMatchObject([
    { tenantId: "audited", userId: "auditor-1" },
    { tenantId: "audited", userId: "user-001" },
  ]);
  for (const secret of [key, admin.key]) expect(list.text).not.toContain(secret.slice(-20));
  expect((await gateway.call("/api/admin/keys?tenantId=audited", { key })).status).toBe(200);
  expect((await gateway.call("/api/admin/keys?tenantId=not-audited", { key })).status).toBe(404);
  expect((await gateway.call("/api/admin/keys", { key, json: { userId: "u", role: "auditor" } })).status).toBe(403);
  expect((await gateway.call(`/api/admin/keys/${admin.keyId}/rotate`, { key, json: {} })).status).toBe(403);
  expect((await gateway.call(`/api/admin/keys/${admin.keyId}`, { key, method: "DELETE" })).status).toBe(403);
});

test("administration rejects everyone else: 401 without a key, 403 without the right", async () => {
  const { key } = await createTenant(gateway, "plain", { role: "manager" });
  for (const path of ["/api/admin/tenants", "/api/admin/keys", "/api/admin/cells"]) {
    expect((await gateway.call(path, { key: "" })).status).toBe(401);
    expect((await gateway.call(path, { key })).status).toBe(403);
  }
  const admin = await issueKey(gateway, { tenantId: "plain" });
  expect((await gateway.call("/api/admin/tenants", { key: admin.key })).status).toBe(403);
  expect((await gateway.call("/api/admin/tenants", { key: admin.key, json: { tenantId: "x", name: "x" } })).status).toBe(403);
});

test.each([
  [{ tenantId: "Upper", name: "x" }],
  [{ tenantId: "-x", name: "x" }],
  [{ tenantId: "a".repeat(41), name: "x" }],
  [{ tenantId: "ok", name: " " }],
  [{ tenantId: "ok", name: "a\0b" }],
  [{ tenantId: "ok", name: "x", other: 1 }],
  [{ tenantId: "ok" }],
  [[]],
])("a tenant is not made of %j", async (json) => {
  const response = await gateway.call<{ details?: { fields: unknown[] } }>("/api/admin/tenants", { json });
  expect(response.status).toBe(400);
  expect(response.body.details?.fields.length).toBeGreaterThan(0);
});

test("administration rejects malformed JSON, other media types and large bodies", async () => {
  const post = (body: string, type: string) =>
    fetch(`${gateway.url}/api/admin/tenants`, {
      method: "POST",
      headers: { authorization: "Bearer operator-key-for-the-tests-only", "content-type": type },
      body,
    });
  expect((await post("{", "application/json")).status).toBe(400);
  expect((await post("a=b", "application/x-www-form-urlencoded")).status).toBe(415);
  expect((await post(JSON.stringify({ name: "x".repeat(100_000) }), "application/json")).status).toBe(413);
});

test("only the operator sees the cells' state", async () => {
  const { body } = await gateway.call<{ data: { cell: string; partitions: { healthy: boolean; url: string }[] }[] }>("/api/admin/cells");
  expect(body.data).toMatchObject([{ cell: "crm", partitions: [{ partition: "crm-1", url: cell.url, healthy: true }] }]);
});

test("a second partition gets the next tenants, and each tenant's requests go to its own", async () => {
  const second = await startTestCell();
  const both = await startTestGateway(await createDatabase(), `crm=${cell.url},crm=${second.url}`);
  try {
    const keys = [await createTenant(both, "one"), await createTenant(both, "two"), await createTenant(both, "three")];
    expect([...second.tenants]).toEqual(["two"]);
    const before = second.requests.length;
    for (const [index, tenantId] of ["one", "two", "three"].entries())
      expect(await statusAt(both, keys[index] as IssuedKey, tenantId)).toBe(200);
    expect(second.requests.length).toBe(before + 1);
  } finally {
    await both.stop();
    await second.close();
  }
});
