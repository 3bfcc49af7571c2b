import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byCurrency, startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let own: TestClient;
let first: string;
const contracts: string[] = [];

beforeAll(async () => {
  cell = await startCrm();
  own = cell.client(await cell.tenant());
  first = (await own.post("/customers", { body: { name: "First" } })).body.customerId;
  const second = (await own.post("/customers", { body: { name: "Second" } })).body.customerId;
  for (let index = 0; index < 12; index++) {
    const body = {
      customerId: index % 3 ? first : second,
      name: index % 2 ? `采购合同 ${index}` : `Lease ${index}`,
      number: `N-${String(index).padStart(2, "0")}`,
      amount: `${100 + index}.335`,
      currency: ["CNY", "JPY", "KWD"][index % 3],
      status: index < 9 ? "active" : "draft",
    };
    const { contractId } = (await own.post("/contracts", { body })).body;
    contracts.push(contractId);
    if (index < 9) await own.post("/payments", { body: { contractId, amount: `${10 + index * 20}.5`, paidAt: "2026-01-31" } });
  }
});
afterAll(() => cell.stop());

const totalsOf = async (client: TestClient, query = "") => byCurrency((await client.get(`/contracts?pageSize=1${query}`)).body);

test("contract amounts are masked in rows, and unmasked in totals", async () => {
  const { data, totals } = (await own.get("/contracts?sort=number&pageSize=1")).body;
  expect(data[0]).toMatchObject({ number: "N-00", amount: "****", receivedAmount: "****", outstandingAmount: "****" });
  expect(byCurrency({ totals })).toEqual({
    CNY: { count: 4, amount: "419.34", received: "211.50", outstanding: "122.67", _masked: [] },
    JPY: { count: 4, amount: "423", received: "272", outstanding: "85", _masked: [] },
    KWD: { count: 4, amount: "427.340", received: "331.500", outstanding: "51.835", _masked: [] },
  });
});

test.each([
  "",
  "&sort=-paidRatio",
  "&status=active",
  "&filter=amount[gt]:105",
  "&keyword=采购",
  "&filter=outstandingAmount[gt]:0 and currency[eq]:CNY",
])("contract totals are the sum over all pages: ?%s", async (query) => {
  const sums: Record<string, { count: number; amount: number; received: number; outstanding: number }> = {};
  let cursor: string | null = "";
  while (cursor !== null) {
    const response = await own.get(`/contracts?pageSize=2&reveal=amount,receivedAmount,outstandingAmount&cursor=${cursor}${query}`);
    for (const row of response.body.data) {
      const sum = sums[row.currency] ?? { count: 0, amount: 0, received: 0, outstanding: 0 };
      sums[row.currency] = {
        count: sum.count + 1,
        amount: sum.amount + Number(row.amount),
        received: sum.received + Number(row.receivedAmount),
        outstanding: sum.outstanding + Number(row.outstandingAmount),
      };
    }
    cursor = response.body.nextCursor;
  }
  const totals = await totalsOf(own, query);
  expect(Object.keys(totals).sort()).toEqual(Object.keys(sums).sort());
  for (const [currency, sum] of Object.entries(sums)) {
    expect(totals[currency]?.count).toBe(sum.count);
    // The rows are rounded one by one, the total once.
    for (const name of ["amount", "received", "outstanding"] as const)
      expect(Math.abs(Number(totals[currency]?.[name]) - sum[name])).toBeLessThanOrEqual(currency === "JPY" ? 2 : 0.021);
  }
});

test("a caller without amount:read gets counts, and cannot derive amounts by sorting or filtering", async () => {
  const blind = cell.client(own.principal.tenantId, { permissions: ["crm:read"] });
  const totals = await totalsOf(blind, "&filter=currency[eq]:CNY");
  expect(totals).toEqual({
    CNY: { count: 4, amount: "****", received: "****", outstanding: "****", _masked: ["amount", "received", "outstanding"] },
  });
  expect((await blind.get(`/contracts/${contracts[0]}`)).body).toMatchObject({
    amount: "****",
    receivedAmount: "****",
    outstandingAmount: "****",
  });
  for (const query of [
    "sort=amount",
    "filter=amount[gt]:1",
    "filter=outstandingAmount[lte]:1",
    "filter=amount[eq]:100.335",
    "filter=receivedAmount[in]:1",
  ])
    expect((await blind.get(`/contracts?${query}`)).body.code).toBe("FIELD_MASKED");
  expect(await totalsOf(cell.client(own.principal.tenantId, { permissions: ["crm:read"] }), "&filter=amount[isNull]:true")).toEqual({});
});

test.each([
  ["status=draft", 3],
  ["filter=status[in]:draft,active", 12],
  ["filter=overpaid[eq]:true", 4],
  ["filter=outstandingAmount[gt]:0", 5],
  ["filter=receivedAmount[eq]:10.5", 1],
  ["filter=paidRatio[gte]:100", 4],
  ["sort=-outstandingAmount,paidRatio", 12],
  ["keyword=lease", 6],
  ["keyword=n-0", 10],
  ["keyword=采购", 6],
  ["sort=-amount,number", 12],
  ["sort=endDate", 12],
])("%s matches %i", async (query, total) => {
  expect((await own.get(`/contracts?${query}`)).body.total).toBe(total);
});

test("the contract list's customerId selects a customer's contracts", async () => {
  const { data, total } = (await own.get(`/contracts?customerId=${first}`)).body;
  expect([total, new Set(data.map((row: { customerId: string }) => row.customerId))]).toEqual([8, new Set([first])]);
});

test.each(["status=signed", "customerId=1", "ownerId=me", "filter=search[eq]:x", "sort=search"])("%s is a BAD_REQUEST", async (query) => {
  expect((await own.get(`/contracts?${query}`)).status).toBe(400);
});

test("the audit trail masks contract amounts for callers that may not read them", async () => {
  const auditor = cell.client(own.principal.tenantId, { permissions: ["audit:read"] });
  const { data } = (await auditor.get(`/audit-logs?resourceType=contract&resourceId=${contracts[0]}&action=create`)).body;
  expect(data[0].changes).toContainEqual({ field: "amount", before: null, after: "****" });
});
