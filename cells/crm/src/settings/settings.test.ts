import type { TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerTest } from "../testing/tenants.ts";
import { auditOf, type TestCrm } from "../testing/test-crm.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

const defaults = {
  timezone: "UTC",
  region: "CN",
  currency: "CNY",
  rates: {},
  stuckAfterDays: 14,
  payments: { overpay: "accept" },
  requireRequestId: false,
  idempotencyMode: "replay",
};
const set = (body: object) => admin.patch("/settings", { body });

describe("settings", () => {
  test("begin with the defaults", async () => {
    const { body, headers } = await admin.get("/settings");
    expect(body).toEqual({ tenantId, ...defaults, updatedAt: expect.any(String), version: 1 });
    expect(headers.get("etag")).toBe('"1"');
    expect((await admin.get("/settings", { headers: { "if-none-match": '"1"' } })).status).toBe(304);
  });

  test("change by field; null goes back to the default; one entry says what changed", async () => {
    const change = { timezone: "Asia/Shanghai", rates: { USD: "7.10", EUR: "7.8" }, stuckAfterDays: 30, payments: { overpay: "reject" } };
    expect((await set(change)).body).toEqual({ tenantId, ...defaults, ...change, updatedAt: expect.any(String), version: 2 });
    expect((await set({ timezone: null, stuckAfterDays: 7 })).body).toMatchObject({
      ...defaults,
      ...change,
      timezone: "UTC",
      stuckAfterDays: 7,
      version: 3,
    });
    const [first, second] = await auditOf(tenantId, tenantId);
    expect(first).toMatchObject({ action: "settings", resource_version: 2 });
    expect(second?.changes).toEqual([
      { field: "timezone", before: "Asia/Shanghai", after: "UTC" },
      { field: "stuckAfterDays", before: 30, after: 7 },
    ]);
  });

  test("that stay as they are make no version and no entry, in whatever order their rates come", async () => {
    await set({ rates: { USD: "7.10", EUR: "7.8" } });
    expect((await set({ rates: { EUR: "7.8", USD: "7.10" }, currency: "CNY" })).body.version).toBe(2);
    expect(await auditOf(tenantId, tenantId)).toHaveLength(1);
  });

  test("a new currency empties the rates that were meant for the old one", async () => {
    await set({ rates: { USD: "7.10" } });
    expect((await set({ currency: "EUR" })).body).toMatchObject({ currency: "EUR", rates: {} });
    expect((await set({ currency: "USD", rates: { CNY: "0.14" } })).body).toMatchObject({ currency: "USD", rates: { CNY: "0.14" } });
  });

  test.each([
    [{ timezone: "Mars/Olympus" }, "timezone"],
    [{ timezone: "+08:00" }, "timezone"],
    [{ currency: "XYZ" }, "currency"],
    [{ currency: "cny" }, "currency"],
    [{ rates: { CNY: "1" } }, "rates.CNY"],
    [{ rates: { ZZZ: "1" } }, "rates.ZZZ"],
    [{ rates: { USD: "0.00" } }, "rates.USD"],
    [{ rates: { USD: 7.1 } }, "rates.USD"],
    [{ rates: { USD: "1e3" } }, "rates.USD"],
    [{ stuckAfterDays: 0 }, "stuckAfterDays"],
    [{ stuckAfterDays: 1.5 }, "stuckAfterDays"],
    [{ payments: { overpay: "maybe" } }, "payments.overpay"],
    [{ payments: { overpay: "accept", other: 1 } }, "payments.other"],
    [{ idempotencyMode: "ignore" }, "idempotencyMode"],
    [{ version: 5 }, "version"],
    [{ nonsense: 1 }, "nonsense"],
  ])("refuse %j, naming the field", async (body, path) => {
    const response = await set(body);
    expect([response.status, response.body.code]).toEqual([400, "BAD_REQUEST"]);
    expect(response.body.details.fields.map((field: { path: string }) => field.path)).toEqual([path]);
  });

  test("of a stale version are refused with what others have changed", async () => {
    await set({ timezone: "Europe/Paris" });
    const response = await admin.patch("/settings", {
      body: { timezone: "Asia/Tokyo", stuckAfterDays: 3 },
      headers: { "if-match": '"1"' },
    });
    expect([response.status, response.body.details]).toEqual([412, { currentVersion: 2, conflictingFields: ["timezone"] }]);
  });

  test("twenty at once all count", async () => {
    const responses = await Promise.all(Array.from({ length: 20 }, (_, index) => set({ stuckAfterDays: 20 + index })));
    expect(responses.map((response) => response.status)).toEqual(responses.map(() => 200));
    expect((await admin.get("/settings")).body.version).toBe(21);
    expect(await auditOf(tenantId, tenantId)).toHaveLength(20);
  });

  test("are an administrator's to change and everyone's to read", async () => {
    const sales = cell.client(tenantId, { permissions: ["crm:read", "crm:write"], scope: "own" });
    expect((await sales.get("/settings")).status).toBe(200);
    expect((await sales.patch("/settings", { body: { currency: "USD" } })).status).toBe(403);
  });
});

describe("what they bring about, at once", () => {
  test("requireRequestId refuses a write without the caller's own id, and nothing else", async () => {
    await admin.post("/customers", { body: { name: "before" } });
    await set({ requireRequestId: true });
    const refused = await admin.post("/customers", { body: { name: "without" } });
    expect([refused.status, refused.body.details.fields[0].path]).toEqual([400, "X-Request-ID"]);
    expect((await admin.post("/customers", { body: { name: "with" }, key: "k1" })).status).toBe(201);
    expect((await admin.post("/customers", { body: { name: "header" }, headers: { "idempotency-key": "k2" } })).status).toBe(201);
    const { data, total } = (await admin.get("/customers")).body;
    expect(total).toBe(3);
    expect((await admin.delete(`/customers/${data[0].customerId}`)).body.details.fields[0].path).toBe("X-Request-ID");
    expect((await admin.patch("/settings", { body: { requireRequestId: false }, key: "k3" })).status).toBe(200);
    expect((await admin.post("/customers", { body: { name: "without" } })).status).toBe(201);
  });

  test("idempotencyMode=reject refuses a repeat, naming what it made; a caller can still ask for the replay", async () => {
    await set({ idempotencyMode: "reject" });
    const body = { name: "once" };
    const first = await admin.post("/customers", { body, key: "same" });
    const again = await admin.post("/customers", { body, key: "same" });
    expect([again.status, again.body.code]).toEqual([409, "IDEMPOTENT_CONFLICT"]);
    expect(again.body.details).toEqual({ reason: "ALREADY_PROCESSED", resourceId: first.body.customerId });
    const replayed = await admin.post("/customers", { body, key: "same", headers: { "x-idempotency-mode": "replay" } });
    expect([replayed.status, replayed.text]).toEqual([201, first.text]);
  });

  test("one tenant's settings are no other's", async () => {
    await set({ requireRequestId: true });
    const other = cell.client(await cell.tenant());
    expect((await other.post("/customers", { body: { name: "free" } })).status).toBe(201);
  });
});
