import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { auditOf, inspect, startCrm, type TestCrm } from "../testing/test-crm.ts";
import { isSigned, type Receiver, startReceiver } from "./testing/receiver.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;
let receiver: Receiver;

beforeAll(async () => {
  cell = await startCrm();
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  receiver = await startReceiver();
});
afterEach(() => receiver.stop());
afterAll(() => cell.stop());

const create = (body: object = {}, key?: string): Promise<TestResponse> =>
  admin.post("/webhooks", { body: { url: receiver.url, events: ["*"], ...body }, ...(key ? { key } : {}) });

test("webhooks, their deliveries and replays are refused to who works on its own records: events are of all records", async () => {
  const { webhookId } = (await create()).body;
  const own = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  const paths = [`/webhooks/${webhookId}`, `/webhooks/${webhookId}/deliveries`, "/webhooks"];
  const writes = [
    own.post("/webhooks", { body: { url: receiver.url, events: ["*"] } }),
    own.patch(`/webhooks/${webhookId}`, { body: { url: receiver.url } }),
    own.post(`/webhooks/${webhookId}/replay`, { body: { from: "2026-01-01" } }),
    own.post(`/webhooks/${webhookId}/test`),
    own.post(`/webhooks/${webhookId}/rotate-secret`),
    own.delete(`/webhooks/${webhookId}`),
  ];
  for (const { status, body } of await Promise.all([...paths.map((path) => own.get(path)), ...writes]))
    expect([status, body.code]).toEqual([403, "FORBIDDEN"]);
  expect((await admin.delete(`/webhooks/${webhookId}`)).status).toBe(200);
});

describe("a webhook", () => {
  test("shows its secret when it is made, in the repeat of that, and nowhere else", async () => {
    const made = await create({ description: "The warehouse" }, "create-1");
    expect(made.status).toBe(201);
    const { secret, ...rest } = made.body;
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(rest).toMatchObject({ enabled: true, events: ["*"], description: "The warehouse", disabledReason: null, version: 1 });
    const again = await create({ description: "The warehouse" }, "create-1");
    expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([made.text, "true"]);
    const id = made.body.webhookId;
    const shown = [
      (await admin.get(`/webhooks/${id}`)).text,
      (await admin.get("/webhooks")).text,
      (await admin.patch(`/webhooks/${id}`, { body: { description: "another" } })).text,
      (await admin.get("/audit-logs")).text,
    ];
    const stored: object[] = [];
    for (const table of ["webhooks", "audit_logs", "idempotency_keys"])
      stored.push(...(await inspect(tenantId, `select * from $tenant.${table}`)));
    expect(stored.length).toBe(4);
    const bare = secret.slice("whsec_".length);
    expect(JSON.stringify([shown, stored])).not.toContain(bare);
    expect((await create()).body.secret).not.toBe(secret);
  });

  test("has a new secret on demand; the old one signs beside it for a day", async () => {
    const { webhookId, secret } = (await create({ events: ["customer.created"] })).body;
    const rotated = await admin.post(`/webhooks/${webhookId}/rotate-secret`, { key: "rotate-1" });
    expect(rotated.body.secret).not.toBe(secret);
    expect(Date.parse(rotated.body.previousSecretUntil) - Date.now()).toBeGreaterThan(23 * 3_600_000);
    expect((await admin.post(`/webhooks/${webhookId}/rotate-secret`, { key: "rotate-1" })).text).toBe(rotated.text);
    await admin.post("/customers", { body: { name: "both" } });
    const [both] = await receiver.waitFor(1);
    expect(both && [isSigned(both, secret), isSigned(both, rotated.body.secret)]).toEqual([true, true]);
    await inspect(tenantId, "update $tenant.webhooks set previous_secret_until = now()");
    await admin.post("/customers", { body: { name: "one" } });
    const one = (await receiver.waitFor(2))[1];
    expect(one && [isSigned(one, secret), isSigned(one, rotated.body.secret)]).toEqual([false, true]);
  });

  test("is an administrator's alone, and no other tenant's", async () => {
    const { webhookId } = (await create()).body;
    const manager = cell.client(tenantId, { permissions: ["crm:read", "crm:write", "audit:read"] });
    for (const path of ["/webhooks", `/webhooks/${webhookId}`, `/webhooks/${webhookId}/deliveries`])
      expect((await manager.get(path)).status).toBe(403);
    expect((await manager.post("/webhooks", { body: { url: receiver.url, events: ["*"] } })).status).toBe(403);
    const foreign = cell.client(await cell.tenant());
    expect((await foreign.get("/webhooks")).body.total).toBe(0);
    for (const response of [
      await foreign.get(`/webhooks/${webhookId}`),
      await foreign.get(`/webhooks/${webhookId}/deliveries`),
      await foreign.patch(`/webhooks/${webhookId}`, { body: { enabled: false } }),
      await foreign.delete(`/webhooks/${webhookId}`),
      await foreign.post(`/webhooks/${webhookId}/test`),
      await foreign.post(`/webhooks/${webhookId}/rotate-secret`),
    ])
      expect(response.status).toBe(404);
  });

  test.each([
    ["https://user:secret@example.com/", "name or password"],
    ["http://example.org.invalid:22/", "port"],
    ["ftp://example.com/", "https://"],
    ["nonsense", "https://"],
    ["https://10.0.0.1/", "public"],
    ["https://[::1]/", "public"],
    ["https://169.254.169.254/latest/meta-data", "public"],
    ["https://2130706434:1/", "port"],
    ["http://0xa9fea9fe/", "public"],
    [`https://example.com/${"x".repeat(2_000)}`, "2000"],
  ])("refuses the URL %s, saying why", async (url, message) => {
    const response = await create({ url });
    expect([response.status, response.body.code, response.body.details.fields[0].path]).toEqual([400, "BAD_REQUEST", "url"]);
    expect(response.body.details.fields[0].message).toContain(message);
    const { webhookId } = (await create()).body;
    expect((await admin.patch(`/webhooks/${webhookId}`, { body: { url } })).status).toBe(400);
  });

  test("refuses unknown events and none, and more than twenty webhooks", async () => {
    expect((await create({ events: ["customer.exploded"] })).status).toBe(400);
    expect((await create({ events: [] })).status).toBe(400);
    for (let index = 0; index < 20; index++) expect((await create({ enabled: false })).status).toBe(201);
    const more = await create();
    expect([more.status, more.body.code]).toEqual([409, "CONFLICT"]);
    const [{ webhookId }] = (await admin.get("/webhooks")).body.data;
    await admin.delete(`/webhooks/${webhookId}`);
    expect((await create()).status).toBe(201);
  });

  test("leaves an entry for each change, sends by hand among them, and none for what changes nothing", async () => {
    const { webhookId } = (await create({}, "c")).body;
    await create({}, "c");
    await admin.patch(`/webhooks/${webhookId}`, { body: { events: ["customer.created"] } });
    await admin.patch(`/webhooks/${webhookId}`, { body: { events: ["customer.created", "customer.created"] } });
    await admin.post(`/webhooks/${webhookId}/rotate-secret`);
    await admin.post(`/webhooks/${webhookId}/test`);
    await admin.post(`/webhooks/${webhookId}/replay`, { body: { from: "2020-01-01", to: "2020-01-02" } });
    await admin.delete(`/webhooks/${webhookId}`);
    expect((await auditOf(tenantId, webhookId)).map(({ action }) => action)).toEqual(["create", "update", "update", "export", "delete"]);
    expect((await admin.get(`/webhooks/${webhookId}`)).status).toBe(404);
  });
});

describe("a delivery", () => {
  test("is signed as the Standard Webhooks specification says, and tells of the change with what is sensitive masked", async () => {
    const { secret } = (await create({ events: ["customer.created"] })).body;
    const body = { name: "某某公司", contactPhone: "13800138000", contactEmail: "contact@example.com" };
    const { customerId } = (await admin.post("/customers", { body, key: "req-1" })).body;
    const [got] = await receiver.waitFor(1);
    if (!got) throw new Error("nothing has come");
    expect(isSigned(got, secret)).toBe(true);
    expect(isSigned({ ...got, body: got.body.replace("某某", "某") }, secret)).toBe(false);
    expect(isSigned({ ...got, headers: { ...got.headers, "webhook-timestamp": "1700000000" } }, secret)).toBe(false);
    expect(got.headers["content-type"]).toBe("application/json; charset=utf-8");
    const entry = (await admin.get(`/audit-logs?resourceId=${customerId}`)).body.data[0];
    expect(got.json).toMatchObject({
      id: got.headers["webhook-id"],
      type: "customer.created",
      tenantId,
      occurredAt: entry.occurredAt,
      data: {
        resourceType: "customer",
        resourceId: customerId,
        resourceName: "某某公司",
        requestId: "req-1",
        actorId: "user-001",
        sequence: entry.seq,
      },
    });
    expect(got.json.data.changes).toContainEqual({ field: "contactPhone", before: null, after: "138****8000" });
    expect(got.json.data.changes).toContainEqual({ field: "contactEmail", before: null, after: "c***@example.com" });
    for (const secretText of ["13800138000", "contact@example.com"]) expect(got.body).not.toContain(secretText);
  });

  test("is made for each event that a change is, to each webhook that asks for it", async () => {
    const { customerId } = (await admin.post("/customers", { body: { name: "before" } })).body;
    const all = await startReceiver();
    await create({ url: all.url });
    await create({ events: ["opportunity.won", "payment.registered"] });
    const { opportunityId } = (await admin.post("/opportunities", { body: { customerId, name: "O", amount: "10.00" } })).body;
    await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "qualification" } });
    await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "won" } });
    const contract = { customerId, name: "C", amount: "10.00", status: "active" };
    const { contractId } = (await admin.post("/contracts", { body: contract })).body;
    const { paymentId } = (await admin.post("/payments", { body: { contractId, amount: "4.00", paidAt: "2026-01-31" } })).body;
    await admin.post(`/payments/${paymentId}/void`);
    const got = await all.waitFor(9);
    const bySequence = got.map(({ json }) => `${String(json.data.sequence).padStart(6, "0")} ${json.type}`).sort();
    expect(bySequence.map((line) => line.slice(7))).toEqual([
      "opportunity.created",
      "opportunity.stage_changed",
      "opportunity.updated",
      "opportunity.stage_changed",
      "opportunity.updated",
      "opportunity.won",
      "contract.created",
      "payment.registered",
      "payment.voided",
    ]);
    expect(new Set(got.map(({ json }) => json.id)).size).toBe(got.length);
    expect((await receiver.waitFor(2)).map(({ json }) => json.type).sort()).toEqual(["opportunity.won", "payment.registered"]);
    await all.stop();
  });
});
