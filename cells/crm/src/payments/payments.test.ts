import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { auditOf, inspect, startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let elsewhere: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

beforeAll(async () => {
  [cell, elsewhere] = await Promise.all([startCrm(), startCrm()]);
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  customerId = (await admin.post("/customers", { body: { name: "Of payments" } })).body.customerId;
});
afterAll(() => Promise.all([cell.stop(), elsewhere.stop()]));

const contract = async (fields: object = {}, client = admin, of = customerId): Promise<string> => {
  const response = await client.post("/contracts", {
    body: { customerId: of, name: "采购合同", amount: "100", status: "active", ...fields },
  });
  expect(response.status, response.text).toBe(201);
  return response.body.contractId;
};

const register = (contractId: string, amount: string | number, fields: object = {}, client = admin) =>
  client.post("/payments", { body: { contractId, amount, paidAt: "2026-01-31", ...fields } });

const receivedOn = async (contractId: string, client = admin) => (await client.get(`/contracts/${contractId}`)).body.receivedAmount;

/** Half of the requests go to another process of the cell, which does not see what this one has under way. */
const either = (index: number, of = tenantId) => (index % 2 ? elsewhere : cell).client(of);

test("a payment is recorded masked, replayed, read unmasked and voided, with an audit entry for each", async () => {
  const contractId = await contract();
  const body = {
    contractId,
    amount: 40.1,
    paidAt: "2026-01-31T08:00:00+08:00",
    method: "bank transfer",
    reference: "TX-1",
    notes: "首付款",
  };
  const first = await admin.post("/payments", { body, key: "payment-1" });
  expect([first.status, first.body]).toMatchObject([
    201,
    {
      contractId,
      customerId,
      amount: "****",
      currency: "CNY",
      paidAt: "2026-01-31T00:00:00.000Z",
      method: "bank transfer",
      reference: "TX-1",
      kind: "payment",
      status: "received",
      overpaid: "****",
      notes: "首付款",
      version: 1,
      _masked: ["amount", "overpaid"],
    },
  ]);
  const again = await admin.post("/payments", { body, key: "payment-1" });
  expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
  expect((await admin.post("/payments", { body: { ...body, amount: 41 }, key: "payment-1" })).body.code).toBe("IDEMPOTENT_CONFLICT");
  const { paymentId } = first.body;
  expect((await admin.get(`/payments/${paymentId}`)).body).toMatchObject({ amount: "40.10", _masked: [] });
  expect(await receivedOn(contractId)).toBe("40.10");
  const voided = await admin.post(`/payments/${paymentId}/void`, { key: "void-1" });
  expect([voided.status, voided.body, voided.headers.get("etag")]).toMatchObject([200, { status: "void", version: 2 }, '"2"']);
  expect((await admin.post(`/payments/${paymentId}/void`, { key: "void-1" })).headers.get("idempotency-replayed")).toBe("true");
  expect(await receivedOn(contractId)).toBe("0.00");
  const entries = await auditOf(tenantId, paymentId);
  expect(entries.map((entry) => entry.action)).toEqual(["create", "void"]);
  expect(entries[1]?.changes).toEqual([{ field: "status", before: "received", after: "void" }]);
});

test("a payment is made void with a reason, which it shows and the trail keeps; an empty body means none", async () => {
  const contractId = await contract();
  const reasons = [{ reason: " 重复登记 " }, {}, { reason: null }, { reason: "" }];
  for (const body of reasons) {
    const { paymentId } = (await register(contractId, "1")).body;
    const voidReason = body.reason ? "重复登记" : null;
    expect((await admin.post(`/payments/${paymentId}/void`, { body })).body).toMatchObject({ status: "void", voidReason });
    expect((await admin.get(`/payments/${paymentId}`)).body.voidReason).toBe(voidReason);
    const [, entry] = await auditOf(tenantId, paymentId);
    const recorded = voidReason ? [{ field: "voidReason", before: null, after: voidReason }] : [];
    expect([entry?.action, entry?.changes]).toEqual(["void", [{ field: "status", before: "received", after: "void" }, ...recorded]]);
  }
  const { paymentId } = (await register(contractId, "1")).body;
  const bad = await admin.post(`/payments/${paymentId}/void`, { body: { reason: 7, why: "" } });
  expect(bad.body.details.fields.map(({ path }: { path: string }) => path).sort()).toEqual(["reason", "why"]);
  for (const empty of [{}, { raw: "", headers: { "content-type": "application/json" } }, { body: {} }]) {
    const response = await admin.post(`/payments/${paymentId}/void`, { ...empty, key: `void ${paymentId}`.replace(" ", "-") });
    expect([response.status, response.body.voidReason], response.text).toEqual([200, null]);
  }
});

test("a payment is neither edited nor deleted", async () => {
  const { paymentId } = (await register(await contract(), "1")).body;
  for (const method of ["PATCH", "DELETE", "PUT"]) {
    const response = await admin.send(method, `/payments/${paymentId}`, { body: { amount: "2" } });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET"]);
  }
});

test("voiding a void payment again changes and records nothing; a stale If-Match is rejected", async () => {
  const { paymentId } = (await register(await contract(), "1")).body;
  expect((await admin.post(`/payments/${paymentId}/void`, { headers: { "if-match": '"7"' } })).status).toBe(412);
  const responses = await Promise.all(Array.from({ length: 5 }, (_, index) => either(index).post(`/payments/${paymentId}/void`)));
  expect(responses.map((response) => [response.status, response.body.version])).toEqual(Array(5).fill([200, 2]));
  expect(await auditOf(tenantId, paymentId)).toHaveLength(2);
});

const inHours = (hours: number) => new Date(Date.now() + hours * 60 * 60 * 1000).toISOString();

test.each([
  ["amount", "0", "OUT_OF_RANGE"],
  ["amount", "-1", "OUT_OF_RANGE"],
  ["amount", "1.23456", "INVALID_FORMAT"],
  ["amount", "****", "MASKED_VALUE"],
  ["amount", undefined, "REQUIRED"],
  ["contractId", "1", "INVALID_FORMAT"],
  ["currency", "USD", "INVALID_FORMAT"],
  ["currency", "cny", "INVALID_FORMAT"],
  ["paidAt", undefined, "REQUIRED"],
  ["paidAt", "2026-02-30", "INVALID_FORMAT"],
  ["paidAt", "2026-01-31T08:00:00", "INVALID_FORMAT"],
  ["paidAt", "0000-01-01", "INVALID_FORMAT"],
  ["paidAt", inHours(25), "OUT_OF_RANGE"],
  ["kind", "gift", "INVALID_ENUM"],
  ["customerId", randomUUID(), "UNKNOWN_FIELD"],
  ["status", "void", "UNKNOWN_FIELD"],
])("a payment with %s %s is a BAD_REQUEST that names the field", async (field, value, code) => {
  const response = await register(await contract(), "1", { [field]: value });
  expect([response.status, response.body.details.fields]).toEqual([400, [expect.objectContaining({ path: field, code })]]);
});

test("a payment may be dated up to a day ahead, and a date means the tenant's midnight", async () => {
  expect((await register(await contract(), "1", { paidAt: inHours(23) })).status).toBe(201);
  const own = cell.client(await cell.tenant());
  await own.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
  const of = (await own.post("/customers", { body: { name: "In Shanghai" } })).body.customerId;
  expect((await register(await contract({}, own, of), "1", {}, own)).body.paidAt).toBe("2026-01-30T16:00:00.000Z");
});

test.each(["draft", "void"])("a contract that is %s takes no payments", async (status) => {
  const response = await register(await contract({ status }), "1");
  expect([response.status, response.body.code, response.body.details]).toEqual([409, "CONFLICT", { field: "contractId", status }]);
});

test.each(["active", "completed", "expired"])("a contract that is %s takes payments", async (status) => {
  expect((await register(await contract({ status }), "1")).status).toBe(201);
});

test("a contract that nobody has is 404", async () => {
  const response = await register(randomUUID(), "1");
  expect([response.status, response.body.details]).toEqual([404, { field: "contractId" }]);
});

test("a reference is unique on its contract, void payments aside", async () => {
  const contractId = await contract();
  const { paymentId } = (await register(contractId, "1", { reference: "TX-9" })).body;
  const twice = await register(contractId, "1", { reference: " TX-9 " });
  expect([twice.status, twice.body.code, twice.body.details]).toEqual([409, "CONFLICT", { field: "reference", existingId: paymentId }]);
  expect((await register(await contract(), "1", { reference: "TX-9" })).status).toBe(201);
  await admin.post(`/payments/${paymentId}/void`);
  expect((await register(contractId, "1", { reference: "TX-9" })).status).toBe(201);
});

test("a refund of more than was received is rejected, and so is voiding a payment that refunds depend on", async () => {
  const contractId = await contract();
  const { paymentId } = (await register(contractId, "10")).body;
  expect((await register(contractId, "10.0001", { kind: "refund" })).body.code).toBe("CONFLICT");
  const refund = await register(contractId, "4", { kind: "refund" });
  expect(refund.status).toBe(201);
  expect(await receivedOn(contractId)).toBe("6.00");
  expect((await admin.post(`/payments/${paymentId}/void`)).body).toMatchObject({
    code: "CONFLICT",
    message: expect.stringContaining("void them first"),
  });
  await admin.post(`/payments/${refund.body.paymentId}/void`);
  expect((await admin.post(`/payments/${paymentId}/void`)).status).toBe(200);
  expect(await receivedOn(contractId)).toBe("0.00");
});

describe("at once", () => {
  test("forty payments of 0.01 on one contract are 0.40 to the cent, each under a version of its own", async () => {
    const contractId = await contract();
    const responses = await Promise.all(Array.from({ length: 40 }, (_, index) => register(contractId, "0.01", {}, either(index))));
    expect(responses.map((response) => response.status)).toEqual(Array(40).fill(201));
    expect((await admin.get(`/contracts/${contractId}`)).body).toMatchObject({
      receivedAmount: "0.40",
      outstandingAmount: "99.60",
      version: 41,
    });
  });

  test("one payment sent twenty times under one id is one payment", async () => {
    const contractId = await contract();
    const body = { contractId, amount: "1", paidAt: "2026-01-31" };
    const responses = await Promise.all(Array.from({ length: 20 }, () => admin.post("/payments", { body, key: "twenty" })));
    const done = responses.filter((response) => response.status === 201);
    expect(new Set(done.map((response) => response.text)).size).toBe(1);
    for (const response of responses) if (response.status !== 201) expect(response.body.details.reason).toBe("IN_PROGRESS");
    expect(await receivedOn(contractId)).toBe("1.00");
  });

  test("overpaying is accepted, and flagged from the first payment on that is too much", async () => {
    const contractId = await contract({ amount: "10" });
    const responses = await Promise.all(Array.from({ length: 12 }, (_, index) => register(contractId, "1", {}, either(index))));
    const made = await Promise.all(responses.map(({ body }) => admin.get(`/payments/${body.paymentId}`)));
    expect(made.filter(({ body }) => body.overpaid === false)).toHaveLength(10);
    expect(made.filter(({ body }) => body.overpaid === true)).toHaveLength(2);
    expect((await admin.get(`/contracts/${contractId}`)).body).toMatchObject({ receivedAmount: "12.00", overpaid: true, paidRatio: 120 });
  });

  test("where the tenant rejects overpaying, not a cent too much comes in, by a payment or by voiding a refund", async () => {
    const own = cell.client(await cell.tenant());
    await own.patch("/settings", { body: { payments: { overpay: "reject" } } });
    const of = (await own.post("/customers", { body: { name: "To the cent" } })).body.customerId;
    const contractId = await contract({ amount: "1" }, own, of);
    const responses = await Promise.all(
      Array.from({ length: 40 }, (_, index) => register(contractId, "0.03", {}, either(index, own.principal.tenantId))),
    );
    expect(responses.filter((response) => response.status === 201)).toHaveLength(33);
    const refused = responses.filter((response) => response.status !== 201);
    expect(refused.map((response) => [response.status, response.body.code])).toEqual(Array(7).fill([409, "CONFLICT"]));
    expect(refused[0]?.body.details).toEqual({ field: "amount", setting: "payments.overpay" });
    expect(await receivedOn(contractId, own)).toBe("0.99");
    const { paymentId } = (await register(contractId, "0.01", {}, own)).body;
    expect((await own.get(`/payments/${paymentId}`)).body.overpaid).toBe(false);
    const refund = await register(contractId, "0.5", { kind: "refund" }, own);
    await register(contractId, "0.4", {}, own);
    expect((await own.post(`/payments/${refund.body.paymentId}/void`)).body.details).toMatchObject({ setting: "payments.overpay" });
  });

  test("refunds in parallel never give back more than was received", async () => {
    const contractId = await contract();
    await register(contractId, "5");
    const responses = await Promise.all(
      Array.from({ length: 10 }, (_, index) => register(contractId, "1", { kind: "refund" }, either(index))),
    );
    expect(responses.filter((response) => response.status === 201)).toHaveLength(5);
    expect(await receivedOn(contractId)).toBe("0.00");
  });
});

test("a caller limited to its own records only sees and writes the payments of its own customers", async () => {
  const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  const contractId = await contract();
  const { paymentId } = (await register(contractId, "1")).body;
  expect((await sales.get(`/payments/${paymentId}`)).status).toBe(404);
  expect((await sales.post(`/payments/${paymentId}/void`)).status).toBe(404);
  expect((await register(contractId, "1", {}, sales)).status).toBe(404);
  expect((await sales.get("/payments")).body).toMatchObject({ total: 0, totals: { byCurrency: [] } });
  const of = (await sales.post("/customers", { body: { name: "Sold to" } })).body.customerId;
  await register(await contract({}, sales, of), "7", {}, sales);
  expect((await sales.get("/payments")).body).toMatchObject({
    total: 1,
    totals: { byCurrency: [{ currency: "CNY", count: 1, net: "7.00" }] },
  });
});

test("payments of a deleted customer stay, and new ones can be recorded", async () => {
  const of = (await admin.post("/customers", { body: { name: "To be deleted" } })).body.customerId;
  const contractId = await contract({}, admin, of);
  const { paymentId } = (await register(contractId, "1")).body;
  await admin.delete(`/customers/${of}`);
  expect((await admin.get(`/payments/${paymentId}`)).status).toBe(200);
  expect((await register(contractId, "1")).status).toBe(201);
});

test("a rejected payment leaves no row, no audit entry and no version", async () => {
  const contractId = await contract({ status: "draft" });
  const body = { contractId, amount: "1", paidAt: "2026-01-31" };
  expect((await admin.post("/payments", { body, key: "refused" })).status).toBe(409);
  expect((await admin.get(`/contracts/${contractId}`)).body.version).toBe(1);
  const [{ rows } = { rows: -1 }] = await inspect<{ rows: number }>(
    tenantId,
    "select count(*)::int as rows from $tenant.payments where contract_id = $1",
    [contractId],
  );
  expect(rows).toBe(0);
  await admin.patch(`/contracts/${contractId}`, { body: { status: "active" } });
  expect((await admin.post("/payments", { body, key: "refused" })).status).toBe(201);
});

test("a merge takes contracts and payments along, those too that are registered meanwhile", async () => {
  const from = (await admin.post("/customers", { body: { name: "Merged away" } })).body.customerId;
  const contractId = await contract({}, admin, from);
  const [merged, ...payments] = await Promise.all([
    admin.post(`/customers/${customerId}/merge`, { body: { sourceIds: [from] } }),
    ...Array.from({ length: 10 }, (_, index) => register(contractId, "1", {}, either(index))),
  ]);
  expect(merged?.status, merged?.text).toBe(200);
  expect(payments.map((response) => response.status)).toEqual(Array(10).fill(201));
  expect((await admin.get(`/contracts/${contractId}`)).body).toMatchObject({ customerId, receivedAmount: "10.00" });
  const { data, total } = (await admin.get(`/payments?contractId=${contractId}`)).body;
  expect([total, new Set(data.map((row: { customerId: string }) => row.customerId))]).toEqual([10, new Set([customerId])]);
  expect((await admin.get(`/payments?customerId=${from}`)).body.total).toBe(0);
  const changes = (await auditOf(tenantId, contractId)).flatMap((entry) => entry.changes);
  expect(changes).toContainEqual({ field: "customerId", before: from, after: customerId });
});

test("after concurrent changes each contract's received amount equals the sum of its payments", async () => {
  const wrong = await inspect(
    tenantId,
    `select contract_id, received_amount from $tenant.contracts where received_amount is distinct from
       (select coalesce(sum(case kind when 'payment' then amount else -amount end), 0) from $tenant.payments
        where payments.contract_id = contracts.contract_id and status = 'received')`,
  );
  expect(wrong).toEqual([]);
});
