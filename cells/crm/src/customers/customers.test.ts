import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf, storedResponses } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ cell, tenantId, admin } = given);
});

const example = { name: "某某公司", contactPhone: "13800138000", contactEmail: "contact@example.com" };
let made = 0;

async function create(fields: object = {}): Promise<{ customerId: string; version: number; name: string }> {
  const response = await admin.post("/customers", { body: { name: `Customer ${++made}`, ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

describe("creating a customer", () => {
  test("the example of the interface document answers masked, and the same line again answers the same bytes", async () => {
    const first = await admin.post("/customers", { body: example, key: "req-uuid-001" });
    expect(first.status).toBe(201);
    expect(first.body).toMatchObject({
      tenantId,
      name: "某某公司",
      contactPhone: "138****8000",
      contactEmail: "c***@example.com",
      status: "lead",
      version: 1,
    });
    expect(first.body._masked).toEqual(["contactPhone", "contactEmail"]);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = await admin.post("/customers", { body: example, key: "req-uuid-001" });
    expect(again.text).toBe(first.text);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    const other = await admin.post("/customers", { body: { ...example, name: "另一家" }, key: "req-uuid-001" });
    expect(other.status).toBe(409);
    expect(other.body).toMatchObject({ code: "IDEMPOTENT_CONFLICT", requestId: "req-uuid-001", details: { reason: "PAYLOAD_MISMATCH" } });
  });

  test("the name of another live customer is rejected with its id, however it is written", async () => {
    const first = await create({ name: "Straße  One" });
    const second = await admin.post("/customers", { body: { name: " ＳＴＲＡＳＳＥ one " } });
    expect(second.status).toBe(409);
    expect(second.body).toMatchObject({ code: "DUPLICATE_NAME", details: { existingId: first.customerId } });
  });

  test("a retry is recognized by its body's content, however it is written, and a malformed one is rejected", async () => {
    const headers = { "content-type": "application/json" };
    const send = (raw: string) => admin.post("/customers", { raw, headers, key: "one-meaning" });
    const first = await send('{"name":"One meaning","tags":["a"]}');
    expect(first.status, first.text).toBe(201);
    for (const raw of [
      '{"name":"One meaning","tags":["a"]}',
      '{ "tags": ["a"], "name": "  One meaning " }',
      '{"name":"One meaning","tags":["a"]}',
    ]) {
      const again = await send(raw);
      expect([again.status, again.headers.get("idempotency-replayed"), again.headers.get("etag")]).toEqual([
        201,
        "true",
        first.headers.get("etag"),
      ]);
      expect(again.text).toBe(first.text);
    }
    expect((await send('{"name":"One meaning","tags":["b"]}')).body.details).toEqual({ reason: "PAYLOAD_MISMATCH" });
    for (const raw of ['{"name":"One meaning","name":"Two"}', '{"name":"One meaning"', '{"nam":"One meaning"}', "[]", ""])
      expect((await send(raw)).status).toBe(400);
  });

  test("a customer's invalid fields are all reported at once, and nothing is written", async () => {
    const response = await admin.post("/customers", {
      body: { name: "  ", contactPhone: "abc", status: "gone", level: 7, colour: "red" },
      key: "bad-fields",
    });
    expect(response.status).toBe(400);
    expect(response.body.details.fields.map((field: { path: string; code: string }) => [field.path, field.code]).sort()).toEqual([
      ["colour", "UNKNOWN_FIELD"],
      ["contactPhone", "INVALID_FORMAT"],
      ["level", "INVALID_FORMAT"],
      ["name", "REQUIRED"],
      ["status", "INVALID_ENUM"],
    ]);
    const corrected = await admin.post("/customers", { body: { name: "Corrected" }, key: "bad-fields" });
    expect(corrected.status, "a refused write leaves no key, so the retry runs").toBe(201);
  });

  test.each([
    ["NUL", { name: "a\0b" }],
    ["half a character", { name: "a\ud800" }],
    ["too long a name", { name: "x".repeat(256) }],
    ["a name that unfolds into too long a key", { name: "ﷺ".repeat(255) }],
    ["no name", {}],
    ["a list", []],
    ["null", null],
    ["a masked phone", { name: "masked", contactPhone: "138****8000" }],
  ])("%s is a BAD_REQUEST", async (_, body) => {
    expect((await admin.post("/customers", { body })).body.code).toBe("BAD_REQUEST");
  });

  test("fifty concurrent identical creations leave one row, one key and one audit entry, and get the same response", async () => {
    const body = { name: "Fifty at once" };
    const responses = await Promise.all(Array.from({ length: 50 }, () => admin.post("/customers", { body, key: "fifty" })));
    const done = responses.filter((response) => response.status === 201);
    expect(done.length).toBeGreaterThan(0);
    expect(new Set(done.map((response) => response.text)).size).toBe(1);
    expect(done.filter((response) => response.headers.get("idempotency-replayed") === null)).toHaveLength(1);
    for (const response of responses.filter((given) => given.status !== 201)) expect(response.body.details.reason).toBe("IN_PROGRESS");
    expect(await auditOf(tenantId, done[0]?.body.customerId)).toHaveLength(1);
    expect((await admin.get("/customers?keyword=Fifty at once")).body.total).toBe(1);
  });

  test("thirty-two creations of one name with different keys leave one customer", async () => {
    const before = await storedResponses(tenantId);
    const responses = await Promise.all(
      Array.from({ length: 32 }, (_, index) => admin.post("/customers", { body: { name: "One of many" }, key: `many-${index}` })),
    );
    expect(responses.filter((response) => response.status === 201)).toHaveLength(1);
    expect(responses.filter((response) => response.body.code === "DUPLICATE_NAME")).toHaveLength(31);
    expect(await storedResponses(tenantId)).toBe(before + 1);
  });

  test("the same idempotency key on another path, by another caller or in another tenant is another request", async () => {
    const key = "independent";
    const other = await cell.tenant();
    const [one, two, three] = await Promise.all([
      admin.post("/customers", { body: { name: "Independent 1" }, key }),
      cell.client(tenantId, { userId: "user-002" }).post("/customers", { body: { name: "Independent 2" }, key }),
      cell.client(other).post("/customers", { body: { name: "Independent 1" }, key }),
    ]);
    expect([one.status, two.status, three.status]).toEqual([201, 201, 201]);
    const patched = await admin.patch(`/customers/${one.body.customerId}`, { body: { level: "A" }, key });
    expect(patched.status).toBe(200);
  });

  test("a request id that the gateway generated is not an idempotency key", async () => {
    const request = { body: { name: "No key of mine" }, headers: { "x-request-id": "made-by-gateway" } };
    // The assertion binds the id: one that was signed for another id is refused.
    expect((await admin.post("/customers", request)).status).toBe(401);
    const before = await storedResponses(tenantId);
    await admin.post("/customers", { body: { name: "Without a key" } });
    expect(await storedResponses(tenantId)).toBe(before);
  });

  test("Idempotency-Key wins over X-Request-ID; a malformed one is rejected", async () => {
    const body = { name: "By Idempotency-Key" };
    const first = await admin.post("/customers", { body, key: "one", headers: { "idempotency-key": "the-key" } });
    const again = await admin.post("/customers", { body, key: "two", headers: { "idempotency-key": "the-key" } });
    expect(again.text).toBe(first.text);
    expect((await admin.post("/customers", { body, headers: { "idempotency-key": "no spaces please" } })).body.code).toBe("BAD_REQUEST");
  });

  test("X-Idempotency-Mode: reject names the first request's result instead of replaying it", async () => {
    const body = { name: "Rejecting repeats" };
    const first = await admin.post("/customers", { body, key: "reject" });
    const again = await admin.post("/customers", { body, key: "reject", headers: { "x-idempotency-mode": "reject" } });
    expect(again.status).toBe(409);
    expect(again.body.details).toEqual({ reason: "ALREADY_PROCESSED", resourceId: first.body.customerId });
  });

  test("a replay is masked for the caller's current permissions", async () => {
    const body = { name: "Masked now", contactPhone: "13912345678" };
    await admin.post("/customers", { body, key: "mask-now" });
    const again = await cell.client(tenantId, { permissions: ["crm:write"] }).post("/customers", { body, key: "mask-now" });
    expect(again.body.contactPhone).toBe("139****5678");
  });
});

describe("reading a customer", () => {
  test("a customer's detail is masked for callers without the permission", async () => {
    const { customerId } = await create({ contactPhone: "+8613800138000", contactEmail: "ab@example.com" });
    const clear = await admin.get(`/customers/${customerId}`);
    expect(clear.body).toMatchObject({ contactPhone: "+8613800138000", contactEmail: "ab@example.com", _masked: [] });
    const masked = await cell.client(tenantId, { permissions: ["crm:read"] }).get(`/customers/${customerId}`);
    expect(masked.body).toMatchObject({
      contactPhone: "+86138****8000",
      contactEmail: "***@example.com",
      _masked: ["contactPhone", "contactEmail"],
    });
  });

  test("a customer's ETag and If-None-Match give 304 until it changes", async () => {
    const { customerId } = await create();
    const first = await admin.get(`/customers/${customerId}`);
    const tag = first.headers.get("etag") ?? "";
    expect(tag).toBe('"1"');
    expect((await admin.get(`/customers/${customerId}`, { headers: { "if-none-match": tag } })).status).toBe(304);
    await admin.patch(`/customers/${customerId}`, { body: { level: "B" } });
    expect((await admin.get(`/customers/${customerId}`, { headers: { "if-none-match": tag } })).status).toBe(200);
  });

  test("an unknown customer, an invalid id and another tenant's customer are the same 404", async () => {
    const other = await cell.tenant();
    const foreign = await cell.client(other).post("/customers", { body: { name: "Foreign" } });
    const responses = await Promise.all([randomUUID(), "abc", foreign.body.customerId].map((id) => admin.get(`/customers/${id}`)));
    for (const response of responses) expect([response.status, response.body.code]).toEqual([404, "NOT_FOUND"]);
  });
});

describe("changing a customer", () => {
  test("a PATCH keeps omitted fields, clears by null, increments the version and writes one audit entry", async () => {
    const { customerId } = await create({ industry: "retail", level: "A" });
    const response = await admin.patch(`/customers/${customerId}`, { body: { industry: null, notes: "called" } });
    expect(response.body).toMatchObject({ industry: null, level: "A", notes: "called", version: 2 });
    const [, entry] = await auditOf(tenantId, customerId);
    expect(entry).toMatchObject({ action: "update", resource_version: 2 });
    expect(entry?.changes).toEqual([
      { field: "industry", before: "retail", after: null },
      { field: "notes", before: null, after: "called" },
    ]);
  });

  test("a PATCH that changes nothing writes nothing, and its later replay undoes nothing", async () => {
    const { customerId } = await create({ level: "A" });
    const first = await admin.patch(`/customers/${customerId}`, { body: { level: "A" }, key: "no-op" });
    expect(first.body.version).toBe(1);
    expect(await auditOf(tenantId, customerId)).toHaveLength(1);
    await admin.patch(`/customers/${customerId}`, { body: { level: "B" } });
    const again = await admin.patch(`/customers/${customerId}`, { body: { level: "A" }, key: "no-op" });
    expect(again.text).toBe(first.text);
    expect((await admin.get(`/customers/${customerId}`)).body.level).toBe("B");
  });

  test("a PATCH with a stale If-Match is a VERSION_CONFLICT that names the conflicting fields", async () => {
    const { customerId } = await create({ level: "A", industry: "retail" });
    await admin.patch(`/customers/${customerId}`, { body: { level: "B" }, headers: { "if-match": '"1"' } });
    const stale = await admin.patch(`/customers/${customerId}`, { body: { level: "C", industry: "food" }, headers: { "if-match": '"1"' } });
    expect(stale.status).toBe(412);
    expect(stale.body).toMatchObject({ code: "VERSION_CONFLICT", details: { currentVersion: 2, conflictingFields: ["level"] } });
    expect((await admin.patch(`/customers/${customerId}`, { body: { level: "C" }, headers: { "if-match": "2" } })).body.code).toBe(
      "BAD_REQUEST",
    );
  });

  test("twenty concurrent PATCHes without If-Match all succeed, in sequence", async () => {
    const { customerId } = await create();
    const responses = await Promise.all(
      Array.from({ length: 20 }, (_, index) => admin.patch(`/customers/${customerId}`, { body: { customFields: { [`f${index}`]: 1 } } })),
    );
    expect(responses.map((response) => response.status)).toEqual(Array(20).fill(200));
    expect((await admin.get(`/customers/${customerId}`)).body.version).toBe(21);
    expect(await auditOf(tenantId, customerId)).toHaveLength(21);
  });

  test("a masked value sent back means unchanged; another value with stars is rejected", async () => {
    const { customerId } = await create({ contactPhone: "13800138000" });
    const same = await admin.patch(`/customers/${customerId}`, { body: { contactPhone: "138****8000", level: "A" } });
    expect(same.status).toBe(200);
    expect((await admin.get(`/customers/${customerId}`)).body.contactPhone).toBe("13800138000");
    const other = await admin.patch(`/customers/${customerId}`, { body: { contactPhone: "139****8000" } });
    expect(other.body.details.fields).toEqual([{ path: "contactPhone", code: "MASKED_VALUE", message: expect.any(String) }]);
  });

  test("a customer's name cannot be changed into another's", async () => {
    const taken = await create();
    const { customerId } = await create();
    const response = await admin.patch(`/customers/${customerId}`, { body: { name: taken.name.toUpperCase() } });
    expect(response.body).toMatchObject({ code: "DUPLICATE_NAME", details: { existingId: taken.customerId } });
  });
});

describe("deleting, restoring and merging", () => {
  test("a deleted customer is gone, its name is free immediately, and it can be restored while the name is free", async () => {
    const { customerId, name } = await create();
    expect((await admin.delete(`/customers/${customerId}`)).body).toEqual({ customerId, deleted: true });
    expect((await admin.get(`/customers/${customerId}`)).status).toBe(404);
    expect((await admin.delete(`/customers/${customerId}`)).status).toBe(404);
    const successor = await create({ name });
    const refused = await admin.post(`/customers/${customerId}/restore`);
    expect(refused.body).toMatchObject({ code: "DUPLICATE_NAME", details: { existingId: successor.customerId } });
    await admin.delete(`/customers/${successor.customerId}`);
    expect((await admin.post(`/customers/${customerId}/restore`)).body).toMatchObject({ customerId, name });
    expect((await auditOf(tenantId, customerId)).map((entry) => entry.action)).toEqual(["create", "delete", "restore"]);
  });

  test("a creation replayed after the deletion gets its response and restores nothing", async () => {
    const body = { name: "Deleted meanwhile" };
    const first = await admin.post("/customers", { body, key: "then-deleted" });
    await admin.delete(`/customers/${first.body.customerId}`);
    expect((await admin.post("/customers", { body, key: "then-deleted" })).text).toBe(first.text);
    expect((await admin.get(`/customers/${first.body.customerId}`)).status).toBe(404);
  });

  test("a PATCH replayed after the deletion gets the first response", async () => {
    const { customerId } = await create();
    const first = await admin.patch(`/customers/${customerId}`, { body: { level: "Z" }, key: "patched-then-deleted" });
    await admin.delete(`/customers/${customerId}`);
    const again = await admin.patch(`/customers/${customerId}`, { body: { level: "Z" }, key: "patched-then-deleted" });
    expect([again.status, again.text]).toEqual([200, first.text]);
  });

  test("a merge fills the survivor's blanks, removes the others and says where they went", async () => {
    const survivor = await create({ level: "A", tags: ["one"] });
    const source = await create({ level: "B", industry: "food", tags: ["two"] });
    const response = await admin.post(`/customers/${survivor.customerId}/merge`, {
      body: { sourceIds: [source.customerId] },
      key: "merge",
    });
    expect(response.body).toMatchObject({
      customerId: survivor.customerId,
      level: "A",
      industry: "food",
      tags: ["one", "two"],
      version: 2,
    });
    const gone = await admin.get(`/customers/${source.customerId}`);
    expect([gone.status, gone.body.details]).toEqual([404, { mergedInto: survivor.customerId }]);
    expect((await admin.post(`/customers/${source.customerId}/restore`)).body.code).toBe("CONFLICT");
    const itself = await admin.post(`/customers/${survivor.customerId}/merge`, { body: { sourceIds: [survivor.customerId] } });
    expect(itself.status).toBe(400);
    expect((await admin.post(`/customers/${survivor.customerId}/merge`, { body: { sourceIds: [randomUUID()] } })).status).toBe(404);
  });
});

describe("permissions", () => {
  test("each customer route rejects callers without its permission", async () => {
    const reader = cell.client(tenantId, { permissions: ["crm:read"] });
    const { customerId } = await create();
    for (const response of [
      await reader.post("/customers", { body: { name: "No" } }),
      await reader.patch(`/customers/${customerId}`, { body: { level: "A" } }),
      await reader.delete(`/customers/${customerId}`),
    ]) {
      expect([response.status, response.body.code]).toEqual([403, "FORBIDDEN"]);
    }
  });

  test("a caller limited to its own records sees, changes and counts no others", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const own = await sales.post("/customers", { body: { name: "Of sales-1" } });
    const { customerId } = await create();
    expect((await sales.get(`/customers/${customerId}`)).status).toBe(404);
    expect((await sales.patch(`/customers/${customerId}`, { body: { level: "A" } })).status).toBe(404);
    expect((await sales.delete(`/customers/${customerId}`)).status).toBe(404);
    const list = await sales.get("/customers");
    expect([list.body.total, list.body.data[0].customerId]).toEqual([1, own.body.customerId]);
    expect((await sales.post("/customers", { body: { name: "For another", ownerId: "sales-2" } })).body.code).toBe("FORBIDDEN");
  });

  test("requests without an assertion, with another cell's, or with another tenant's header are rejected", async () => {
    expect((await fetch(`${cell.url}/customers`, { headers: { "x-tenant-id": tenantId, "x-request-id": "a" } })).status).toBe(401);
    expect((await admin.get("/customers", { headers: { "x-tenant-id": "another" } })).body.code).toBe("TENANT_MISMATCH");
  });
});
