import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import type { Permission } from "@cell/http";
import { schemaOf } from "@cell/postgres";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { startCrm, type TestCrm } from "./testing/test-crm.ts";

let cell: TestCrm;
/** A process that has no answers in memory. */
let other: TestCrm;
let tenantId: string;
let admin: TestClient;
let anna: TestClient;

beforeAll(async () => {
  cell = await startCrm();
  other = await startCrm();
  tenantId = await cell.tenant();
  admin = cell.client(tenantId, { userId: "admin" });
  anna = cell.client(tenantId, { userId: "anna", scope: "own" });
}, 60_000);
afterAll(() => Promise.all([cell.stop(), other.stop()]));

const atOther = (client: TestClient) => other.client(tenantId, client.principal);

async function made(client: TestClient, path: string, body: object) {
  const response = await client.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

const customer = async (name: string, ownerId = "anna"): Promise<string> => (await made(admin, "/customers", { name, ownerId })).customerId;

describe("a refusal names another record only to who may read it", () => {
  /** What a caller without crm:read may still write. */
  const writer = () => cell.client(tenantId, { userId: "writer", permissions: ["crm:write"] as Permission[] });

  test("by the name of a customer, on create, change and restore", async () => {
    const hidden = await customer("Hidden", "ben");
    const mine = await customer("Mine");
    const deleted = await customer("To be restored");
    await admin.delete(`/customers/${deleted}`);
    await admin.patch(`/customers/${hidden}`, { body: { name: "To be restored" } });
    const attempts = (client: TestClient): Promise<TestResponse>[] => [
      client.post("/customers", { body: { name: "TO BE  restored" } }),
      client.patch(`/customers/${mine}`, { body: { name: "To be restored" } }),
      client.post(`/customers/${deleted}/restore`),
    ];
    for (const [client, existingId] of [
      [admin, hidden],
      [anna, null],
      [writer(), null],
    ] as const)
      for (const response of await Promise.all(attempts(client)))
        expect([response.status, response.body.code, response.body.details]).toEqual([409, "DUPLICATE_NAME", { existingId }]);
    expect((await anna.post("/customers", { body: { name: "mine" } })).body.details).toEqual({ existingId: mine });
  });

  test("by the number of a contract, on create and change", async () => {
    const [hidden, mine] = [await customer("With a hidden contract", "ben"), await customer("With a contract")];
    const theirs = await made(admin, "/contracts", { customerId: hidden, name: "Theirs", amount: "1", number: "H-1" });
    const own = await made(anna, "/contracts", { customerId: mine, name: "Own", amount: "1", number: "M-1" });
    for (const [client, existingId] of [
      [admin, theirs.contractId],
      [anna, null],
    ] as const)
      for (const response of [
        await client.post("/contracts", { body: { customerId: mine, name: "Twice", amount: "1", number: "h-1" } }),
        await client.patch(`/contracts/${own.contractId}`, { body: { number: "h-1" } }),
      ])
        expect([response.status, response.body.details]).toEqual([409, { field: "number", existingId }]);
    const twice = await anna.post("/contracts", { body: { customerId: mine, name: "Twice", amount: "1", number: "M-1" } });
    expect(twice.body.details.existingId).toBe(own.contractId);
  });

  test("by the reference of a payment", async () => {
    const { contractId } = await made(anna, "/contracts", {
      customerId: await customer("With a reference"),
      name: "Paid",
      amount: "9",
      status: "active",
    });
    const body = { contractId, amount: "1", paidAt: "2026-01-31", reference: "TX-1" };
    const { paymentId } = await made(anna, "/payments", body);
    expect((await anna.post("/payments", { body })).body.details).toEqual({ field: "reference", existingId: paymentId });
    expect((await writer().post("/payments", { body })).body.details).toEqual({ field: "reference", existingId: null });
  });

  test("that a customer was merged into, on reading and restoring it", async () => {
    const merged = await customer("Merged away");
    const survivor = await customer("Survivor", "ben");
    expect((await admin.post(`/customers/${survivor}/merge`, { body: { sourceIds: [merged] } })).status).toBe(200);
    for (const [client, mergedInto] of [
      [admin, survivor],
      [anna, null],
    ] as const) {
      const gone = await client.get(`/customers/${merged}`);
      expect([gone.status, gone.body.details]).toEqual([404, { mergedInto }]);
      const restored = await client.post(`/customers/${merged}/restore`);
      expect([restored.status, restored.body.details]).toEqual([409, { mergedInto }]);
    }
  });
});

describe("a repeat is answered as the caller may see now", () => {
  /** A write of Anna's on each resource, and the customer by which its record is hers. */
  const writes: Record<string, (customerId: string) => Promise<[method: string, path: string, body: object | undefined]>> = {
    "POST /customers": async () => ["POST", "/customers", { name: "Of Anna's" }],
    "PATCH /customers/{id}": async (id) => ["PATCH", `/customers/${id}`, { level: "A" }],
    "POST /contacts": async (customerId) => ["POST", "/contacts", { customerId, name: "王芳" }],
    "PATCH /contacts/{id}": async (customerId) => {
      const { contactId } = await made(anna, "/contacts", { customerId, name: "王芳" });
      return ["PATCH", `/contacts/${contactId}`, { title: "CEO" }];
    },
    "POST /contracts": async (customerId) => ["POST", "/contracts", { customerId, name: "Contract", amount: "7" }],
    "DELETE /contracts/{id}": async (customerId) => {
      const { contractId } = await made(anna, "/contracts", { customerId, name: "Contract", amount: "7" });
      return ["DELETE", `/contracts/${contractId}`, undefined];
    },
    "POST /payments": async (customerId) => {
      const { contractId } = await made(anna, "/contracts", { customerId, name: "Contract", amount: "7", status: "active" });
      return ["POST", "/payments", { contractId, amount: "1", paidAt: "2026-01-31" }];
    },
    "POST /payments/{id}/void": async (customerId) => {
      const { contractId } = await made(anna, "/contracts", { customerId, name: "Contract", amount: "7", status: "active" });
      const { paymentId } = await made(anna, "/payments", { contractId, amount: "1", paidAt: "2026-01-31" });
      return ["POST", `/payments/${paymentId}/void`, undefined];
    },
  };

  const ownedBy = async (path: string, ownerId: string) => {
    const response = await admin.patch(path, { body: { ownerId } });
    expect(response.status, response.text).toBe(200);
  };

  test.each(Object.keys(writes))("%s: 404 while the record is out of sight, from memory and from the database", async (name) => {
    const key = name.replace(/\W+/g, "-");
    const customerId = await customer(`Of ${name}`);
    const [method, path, body] = (await writes[name]?.(customerId)) ?? ["", "", undefined];
    const request = { ...(body && { body }), key };
    const first = await anna.send(method, path, request);
    expect(first.status, first.text).toBeLessThan(300);
    const record = `/customers/${path === "/customers" ? first.body.customerId : customerId}`;
    await ownedBy(record, "ben");
    for (const client of [anna, atOther(anna)]) {
      const hidden = await client.send(method, path, request);
      expect([hidden.status, hidden.body.code], hidden.text).toEqual([404, "NOT_FOUND"]);
      const rejected = await client.send(method, path, { ...request, headers: { "x-idempotency-mode": "reject" } });
      expect(rejected.body.details).toEqual({ reason: "ALREADY_PROCESSED", resourceId: null });
    }
    await ownedBy(record, "anna");
    for (const client of [anna, atOther(anna)]) {
      const again = await client.send(method, path, request);
      expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
    }
  });

  test("an opportunity that was given to someone else, and a caller whose scope became its own", async () => {
    const customerId = await customer("Of opportunities");
    const body = { customerId, name: "Deal", ownerId: "anna" };
    const [hers, wide] = [anna, cell.client(tenantId, { userId: "carl" })];
    const first = await hers.post("/opportunities", { body, key: "her-deal" });
    await ownedBy(`/opportunities/${first.body.opportunityId}`, "ben");
    expect((await hers.post("/opportunities", { body, key: "her-deal" })).status).toBe(404);
    const made = await wide.post("/opportunities", { body, key: "a-deal" });
    expect((await wide.post("/opportunities", { body, key: "a-deal" })).text).toBe(made.text);
    const narrow = cell.client(tenantId, { userId: "carl", scope: "own" });
    expect((await narrow.post("/opportunities", { body, key: "a-deal" })).status).toBe(404);
  });

  test("a record that was deleted since is answered again, as it was", async () => {
    const first = await anna.post("/customers", { body: { name: "Short-lived" }, key: "short-lived" });
    const { customerId } = first.body;
    const gone = await anna.delete(`/customers/${customerId}`, { key: "short-lived" });
    for (const client of [anna, atOther(anna)]) {
      expect((await client.post("/customers", { body: { name: "Short-lived" }, key: "short-lived" })).text).toBe(first.text);
      expect((await client.delete(`/customers/${customerId}`, { key: "short-lived" })).text).toBe(gone.text);
    }
  });

  test("a caller who lost the permission is refused", async () => {
    await anna.post("/customers", { body: { name: "Once writable" }, key: "once-writable" });
    const reader = cell.client(tenantId, { userId: "anna", scope: "own", permissions: ["crm:read"] });
    expect((await reader.post("/customers", { body: { name: "Once writable" }, key: "once-writable" })).status).toBe(403);
  });

  test("who sees the whole tenant is answered from memory, without a look into the records", async () => {
    const body = { name: "From memory" };
    const first = await admin.post("/customers", { body, key: "from-memory" });
    const client = new pg.Client({ connectionString: inject("databaseUrl") });
    await client.connect();
    try {
      await client.query(`begin; lock table "${schemaOf(tenantId)}".customers in access exclusive mode`);
      expect((await admin.post("/customers", { body, key: "from-memory" })).text).toBe(first.text);
    } finally {
      await client.end();
    }
  });
});

test("the trail is the tenant's: who works on its own records reads no entry of it by its id either", async () => {
  const { data } = (await admin.get("/audit-logs?pageSize=1")).body;
  const auditor = (scope: "own" | "tenant") => cell.client(tenantId, { userId: "auditor", scope, permissions: ["audit:read"] });
  expect((await auditor("tenant").get(`/audit-logs/${data[0].id}`)).status).toBe(200);
  const verified = await auditor("own").get("/audit-logs/verify");
  expect([verified.status, verified.body.code]).toEqual([403, "FORBIDDEN"]);
  expect((await auditor("tenant").get("/audit-logs/verify")).status).toBe(200);
  expect((await auditor("own").get("/audit-logs")).body.total).toBe(0);
  expect((await auditor("own").get(`/audit-logs/${data[0].id}`)).status).toBe(404);
});
