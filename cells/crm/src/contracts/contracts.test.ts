import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = await customer("Of contracts");
});

const customer = async (name: string, client = admin): Promise<string> =>
  (await client.post("/customers", { body: { name } })).body.customerId;

const create = async (fields: object = {}) => {
  const response = await admin.post("/contracts", { body: { customerId, name: "年度合同", amount: "1000", ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};

const pay = async (contractId: string, amount: string, fields: object = {}) => {
  const response = await admin.post("/payments", { body: { contractId, amount, paidAt: "2026-01-31", ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};

const read = async (contractId: string) => (await admin.get(`/contracts/${contractId}`)).body;

test("a contract is created masked, replayed, read in the clear, changed and deleted, with an entry for each", async () => {
  const body = {
    customerId,
    name: "框架协议",
    number: "HT-001",
    amount: 120000.5,
    startDate: "2026-01-01",
    endDate: "2026-12-31",
    signedAt: "2026-01-05",
  };
  const first = await admin.post("/contracts", { body, key: "contract-1" });
  expect([first.status, first.headers.get("etag")]).toEqual([201, '"1"']);
  expect(first.body).toMatchObject({
    customerId,
    opportunityId: null,
    number: "HT-001",
    name: "框架协议",
    amount: "****",
    currency: "CNY",
    status: "draft",
    signedAt: "2026-01-05T00:00:00.000Z",
    startDate: "2026-01-01",
    endDate: "2026-12-31",
    receivedAmount: "****",
    paidRatio: "****",
    overpaid: "****",
    version: 1,
    _masked: ["amount", "receivedAmount", "outstandingAmount", "paidRatio", "overpaid"],
  });
  const again = await admin.post("/contracts", { body, key: "contract-1" });
  expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
  const { contractId } = first.body;
  expect(await read(contractId)).toMatchObject({
    amount: "120000.50",
    receivedAmount: "0.00",
    outstandingAmount: "0.00",
    _masked: [],
  });
  const changed = await admin.patch(`/contracts/${contractId}`, { body: { status: "active", amount: "****" } });
  expect(changed.body).toMatchObject({ status: "active", version: 2 });
  expect((await admin.patch(`/contracts/${contractId}`, { body: { status: "active" } })).body.version).toBe(2);
  expect((await admin.delete(`/contracts/${contractId}`)).body).toEqual({ contractId, deleted: true });
  expect((await admin.get(`/contracts/${contractId}`)).status).toBe(404);
  const entries = await auditOf(tenantId, contractId);
  expect(entries.map((entry) => [entry.action, entry.resource_version])).toEqual([
    ["create", 1],
    ["update", 2],
    ["delete", 3],
  ]);
  expect(entries[1]?.changes).toEqual([{ field: "status", before: "draft", after: "active" }]);
  expect(entries[0]?.changes).toContainEqual({ field: "amount", before: null, after: "120000.50" });
});

test.each([
  ["amount", "0", "OUT_OF_RANGE"],
  ["amount", "-1", "OUT_OF_RANGE"],
  ["amount", "1e3", "INVALID_FORMAT"],
  ["amount", "****", "MASKED_VALUE"],
  ["amount", undefined, "REQUIRED"],
  ["name", "", "REQUIRED"],
  ["number", "  ", "REQUIRED"],
  ["currency", "XXY", "INVALID_ENUM"],
  ["status", "signed", "INVALID_ENUM"],
  ["startDate", "2026-02-30", "INVALID_FORMAT"],
  ["startDate", "0000-01-01", "INVALID_FORMAT"],
  ["endDate", "2026-01-01T00:00:00Z", "INVALID_FORMAT"],
  ["endDate", "2025-12-31", "OUT_OF_RANGE"],
  ["signedAt", "yesterday", "INVALID_FORMAT"],
  ["signedAt", "9999-12-31T23:59:59-12:00", "INVALID_FORMAT"],
  ["receivedAmount", "1", "UNKNOWN_FIELD"],
  ["contractId", randomUUID(), "UNKNOWN_FIELD"],
])("a contract with %s %s is a BAD_REQUEST that names the field", async (field, value, code) => {
  const response = await admin.post("/contracts", {
    body: { customerId, name: "Bad", amount: "1", startDate: "2026-01-01", [field]: value },
  });
  expect([response.status, response.body.details.fields]).toEqual([400, [expect.objectContaining({ path: field, code })]]);
});

test("a contract's new end is compared with its stored start", async () => {
  const { contractId } = await create({ startDate: "2026-03-01" });
  expect((await admin.patch(`/contracts/${contractId}`, { body: { endDate: "2026-02-28" } })).status).toBe(400);
  expect((await admin.patch(`/contracts/${contractId}`, { body: { endDate: "2026-03-01" } })).status).toBe(200);
});

test("a contract for an invisible customer or opportunity is 404, for another customer's opportunity 400", async () => {
  expect((await admin.post("/contracts", { body: { customerId: randomUUID(), name: "None", amount: "1" } })).body).toMatchObject({
    code: "NOT_FOUND",
    details: { field: "customerId" },
  });
  const none = await admin.post("/contracts", { body: { customerId, name: "None", amount: "1", opportunityId: randomUUID() } });
  expect([none.status, none.body.details]).toEqual([404, { field: "opportunityId" }]);
  const opportunityId = await opportunity(customerId);
  const { contractId } = await create({ opportunityId });
  expect((await read(contractId)).opportunityId).toBe(opportunityId);
  expect((await admin.get(`/contracts?opportunityId=${opportunityId}`)).body.total).toBe(1);
  const foreign = { opportunityId: await opportunity(await customer("Of the other opportunity")) };
  expect((await admin.patch(`/contracts/${contractId}`, { body: foreign })).body.details.fields[0].path).toBe("opportunityId");
  expect((await admin.patch(`/contracts/${contractId}`, { body: { opportunityId: null } })).body.opportunityId).toBeNull();
});

const opportunity = async (of: string): Promise<string> =>
  (await admin.post("/opportunities", { body: { customerId: of, name: "Deal" } })).body.opportunityId;

describe("numbers", () => {
  test("a contract number is unique among live contracts, in any case and width, on create and change", async () => {
    const { contractId } = await create({ number: "ht-Ω 7" });
    const twice = await admin.post("/contracts", { body: { customerId, name: "Twice", amount: "1", number: " HT-Ω  ７ " } });
    expect([twice.status, twice.body.code, twice.body.details]).toEqual([409, "CONFLICT", { field: "number", existingId: contractId }]);
    const other = await create();
    const moved = await admin.patch(`/contracts/${other.contractId}`, { body: { number: "HT-Ω 7" } });
    expect([moved.status, moved.body.details.existingId]).toEqual([409, contractId]);
    await admin.delete(`/contracts/${contractId}`);
    expect((await admin.patch(`/contracts/${other.contractId}`, { body: { number: "HT-Ω 7" } })).status).toBe(200);
  });

  test("forty concurrent contracts without a number get forty numbers, none of which a person has used", async () => {
    const own = cell.client(await cell.tenant());
    const of = await customer("Of numbers", own);
    const year = new Date().getUTCFullYear();
    await own.post("/contracts", { body: { customerId: of, name: "Given", amount: "1", number: `c-${year}-000003` } });
    const responses = await Promise.all(
      Array.from({ length: 40 }, (_, index) => own.post("/contracts", { body: { customerId: of, name: `At once ${index}`, amount: "1" } })),
    );
    expect(responses.map((response) => response.status)).toEqual(Array(40).fill(201));
    const numbers = responses.map((response) => response.body.number).sort();
    expect(numbers).toEqual(
      [1, 2, ...Array.from({ length: 38 }, (_, index) => index + 4)].map((n) => `C-${year}-${String(n).padStart(6, "0")}`),
    );
  });
});

describe("statuses", () => {
  test("an illegal change of a contract's status is a CONFLICT that lists the legal ones", async () => {
    const { contractId } = await create();
    const refused = await admin.patch(`/contracts/${contractId}`, { body: { status: "completed" } });
    expect([refused.status, refused.body.code]).toEqual([409, "CONFLICT"]);
    expect(refused.body.message).toContain("active or void");
    expect(refused.body.details).toEqual({ field: "status", status: "draft", legal: ["active", "void"] });
    for (const status of ["active", "expired", "active", "completed", "active", "void"])
      expect((await admin.patch(`/contracts/${contractId}`, { body: { status } })).body.status).toBe(status);
    expect((await admin.patch(`/contracts/${contractId}`, { body: { status: "active" } })).body.details.legal).toEqual([]);
  });
});

describe("with payments", () => {
  test("a contract's received amount, outstanding amount and ratio follow its payments, with a new ETag", async () => {
    const { contractId } = await create({ status: "active", amount: "300" });
    const before = await admin.get(`/contracts/${contractId}`);
    await pay(contractId, "150.005");
    await pay(contractId, "50", { kind: "refund" });
    const after = await admin.get(`/contracts/${contractId}`, { headers: { "if-none-match": before.headers.get("etag") ?? "" } });
    expect([after.status, after.body]).toMatchObject([
      200,
      { receivedAmount: "100.01", outstandingAmount: "200.00", paidRatio: 33.34, overpaid: false, version: 3 },
    ]);
    await pay(contractId, "250");
    expect(await read(contractId)).toMatchObject({
      receivedAmount: "350.01",
      outstandingAmount: "0.00",
      paidRatio: 116.67,
      overpaid: true,
    });
  });

  test("a contract with payments recomputes for another amount; another currency is a CONFLICT", async () => {
    const { contractId } = await create({ status: "active", amount: "300" });
    expect((await admin.patch(`/contracts/${contractId}`, { body: { currency: "USD" } })).body.currency).toBe("USD");
    await pay(contractId, "100");
    const changed = await admin.patch(`/contracts/${contractId}`, { body: { amount: "80" }, key: "amount" });
    expect(changed.body).toMatchObject({ paidRatio: "****", overpaid: "****" });
    expect(await read(contractId)).toMatchObject({ outstandingAmount: "0.00", paidRatio: 125, overpaid: true });
    const refused = await admin.patch(`/contracts/${contractId}`, { body: { currency: "CNY" } });
    expect([refused.status, refused.body.code, refused.body.details]).toEqual([409, "CONFLICT", { field: "currency" }]);
  });

  test("a contract with payments cannot be deleted, only voided, until its payments are void", async () => {
    const { contractId } = await create({ status: "active" });
    const { paymentId } = await pay(contractId, "1");
    const refused = await admin.delete(`/contracts/${contractId}`);
    expect([refused.status, refused.body.code]).toEqual([409, "CONFLICT"]);
    expect((await admin.patch(`/contracts/${contractId}`, { body: { status: "void" } })).status).toBe(200);
    expect((await admin.post(`/payments/${paymentId}/void`)).status).toBe(200);
    expect((await admin.delete(`/contracts/${contractId}`)).status).toBe(200);
  });

  test("a contract change with a stale If-Match is a VERSION_CONFLICT after a payment", async () => {
    const { contractId } = await create({ status: "active" });
    const stale = { "if-match": '"1"' };
    expect((await admin.patch(`/contracts/${contractId}`, { body: { name: "First" }, headers: stale })).status).toBe(200);
    const refused = await admin.patch(`/contracts/${contractId}`, { body: { name: "Second" }, headers: stale });
    expect([refused.status, refused.body.code, refused.body.details]).toEqual([
      412,
      "VERSION_CONFLICT",
      { currentVersion: 2, conflictingFields: ["name"] },
    ]);
    await pay(contractId, "1");
    expect((await admin.delete(`/contracts/${contractId}`, { headers: { "if-match": '"2"' } })).body.details.currentVersion).toBe(3);
  });

  test("a contract voided while payments arrive accepts none afterwards", async () => {
    const { contractId } = await create({ status: "active" });
    const body = { contractId, amount: "1", paidAt: "2026-01-31" };
    const [voided, ...payments] = await Promise.all([
      admin.patch(`/contracts/${contractId}`, { body: { status: "void" } }),
      ...Array.from({ length: 10 }, () => admin.post("/payments", { body: { ...body, contractId: contractId.toUpperCase() } })),
    ]);
    expect(voided?.status).toBe(200);
    expect(new Set(payments.map((response) => response.status)).isSubsetOf(new Set([201, 409]))).toBe(true);
    expect((await admin.post("/payments", { body })).status).toBe(409);
    const taken = payments.filter((response) => response.status === 201).length;
    expect((await read(contractId)).receivedAmount).toBe(`${taken}.00`);
  });
});

test("a caller limited to its own records only sees and writes the contracts of its own customers", async () => {
  const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  const { contractId } = await create();
  expect((await sales.get(`/contracts/${contractId}`)).status).toBe(404);
  expect((await sales.patch(`/contracts/${contractId}`, { body: { name: "Mine" } })).status).toBe(404);
  expect((await sales.delete(`/contracts/${contractId}`)).status).toBe(404);
  expect((await sales.post("/contracts", { body: { customerId, name: "Hidden", amount: "1" } })).status).toBe(404);
  expect((await sales.get("/contracts")).body).toMatchObject({ total: 0, totals: { byCurrency: [] } });
  const own = await customer("Own customer", sales);
  await sales.post("/contracts", { body: { customerId: own, name: "Seen", amount: "1" } });
  expect((await sales.get("/contracts")).body).toMatchObject({
    total: 1,
    totals: { byCurrency: [{ currency: "CNY", count: 1, amount: "1.00" }] },
  });
});

test("a contract's currency and timezone default to the tenant's settings", async () => {
  const own = cell.client(await cell.tenant());
  await own.patch("/settings", { body: { currency: "JPY", timezone: "Asia/Tokyo" } });
  const of = await customer("In Japan", own);
  const made = await own.post("/contracts", { body: { customerId: of, name: "賃貸契約", amount: "1000.5", signedAt: "2026-04-01" } });
  expect((await own.get(`/contracts/${made.body.contractId}`)).body).toMatchObject({
    currency: "JPY",
    amount: "1001",
    signedAt: "2026-03-31T15:00:00.000Z",
  });
});

describe("a contract that is no agreement", () => {
  test.each(["draft", "void"])(
    "owes nothing while it is %s: in its detail, in lists, totals, filters, sorts and the 360 view",
    async (status) => {
      const own = cell.client(await cell.tenant());
      const of = await customer("Owes nothing", own);
      const made = await own.post("/contracts", { body: { customerId: of, name: "Agreed", amount: "300", status: "active" } });
      const { contractId } = (await own.post("/contracts", { body: { customerId: of, name: "Not agreed", amount: "100", status } })).body;
      expect((await own.get(`/contracts/${contractId}`)).body).toMatchObject({ amount: "100.00", outstandingAmount: "0.00" });
      const { data, totals } = (await own.get("/contracts?reveal=amount,outstandingAmount&sort=outstandingAmount")).body;
      expect(data.map((row: { outstandingAmount: string }) => row.outstandingAmount)).toEqual(["0.00", "300.00"]);
      expect(totals.byCurrency[0]).toMatchObject({ amount: "400.00", outstanding: "300.00" });
      const owing = (await own.get("/contracts?filter=outstandingAmount[gt]:0")).body.data;
      expect(owing.map((row: { contractId: string }) => row.contractId)).toEqual([made.body.contractId]);
      const { contracts } = (await own.get(`/customers/${of}/360`)).body;
      expect(contracts).toMatchObject({ total: 2, amount: "300.00", received: "0.00", outstanding: "300.00" });
    },
  );

  test("owed until it was made void, and owes again when a draft becomes active; what it received stays", async () => {
    const { contractId } = await create({ amount: "100" });
    expect((await read(contractId)).outstandingAmount).toBe("0.00");
    await admin.patch(`/contracts/${contractId}`, { body: { status: "active" } });
    await pay(contractId, "30");
    expect((await read(contractId)).outstandingAmount).toBe("70.00");
    await admin.patch(`/contracts/${contractId}`, { body: { status: "void" } });
    expect(await read(contractId)).toMatchObject({ receivedAmount: "30.00", outstandingAmount: "0.00", paidRatio: 30 });
  });
});

describe("where the tenant rejects overpaying", () => {
  const rejecting = async () => {
    const own = cell.client(await cell.tenant());
    await own.patch("/settings", { body: { payments: { overpay: "reject" } } });
    const of = await customer("To the cent", own);
    const { contractId } = (await own.post("/contracts", { body: { customerId: of, name: "Paid", amount: "100", status: "active" } })).body;
    const register = (amount: string) => own.post("/payments", { body: { contractId, amount, paidAt: "2026-01-31" } });
    return { own, contractId, register, change: (body: object) => own.patch(`/contracts/${contractId}`, { body }) };
  };

  test("a contract amount below what was received is rejected, and nothing changes", async () => {
    const { own, contractId, register, change } = await rejecting();
    await register("80");
    const refused = await change({ amount: "79.99", name: "Less" });
    expect([refused.status, refused.body.code]).toEqual([409, "CONFLICT"]);
    expect(refused.body.details).toEqual({ field: "amount", setting: "payments.overpay" });
    expect(refused.body.message).not.toMatch(/\d/);
    expect((await own.get(`/contracts/${contractId}`)).body).toMatchObject({ name: "Paid", amount: "100.00", version: 2 });
    expect((await change({ amount: "80" })).status).toBe(200);
  });

  test("an overpaid contract can be renamed and increased, not decreased", async () => {
    const { own, register, change } = await rejecting();
    await own.patch("/settings", { body: { payments: { overpay: "accept" } } });
    await register("150");
    await own.patch("/settings", { body: { payments: { overpay: "reject" } } });
    expect((await change({ name: "Renamed" })).status).toBe(200);
    expect((await change({ amount: "120" })).status).toBe(200);
    expect((await change({ amount: "110" })).status).toBe(409);
  });

  test("concurrent payments and lower amounts never exceed the contract's amount", async () => {
    const { own, contractId, register, change } = await rejecting();
    const responses = await Promise.all(
      Array.from({ length: 30 }, (_, index) => (index % 3 ? register("5") : change({ amount: String(100 - index) }))),
    );
    expect(new Set(responses.map(({ status }) => status)).isSubsetOf(new Set([200, 201, 409]))).toBe(true);
    const { amount, receivedAmount, overpaid } = (await own.get(`/contracts/${contractId}`)).body;
    expect([Number(receivedAmount) <= Number(amount), overpaid]).toEqual([true, false]);
    expect(responses.some(({ status }) => status === 409)).toBe(true);
  });
});
