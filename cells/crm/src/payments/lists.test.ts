import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byCurrency, startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let own: TestClient;
let of: string;
let yen: string;

const contract = async (fields: object): Promise<string> =>
  (await own.post("/contracts", { body: { customerId: of, name: "采购合同", amount: "100", status: "active", ...fields } })).body
    .contractId;

const register = (contractId: string, amount: string, fields: object) =>
  own.post("/payments", { body: { contractId, amount, paidAt: "2026-01-31", ...fields } });

beforeAll(async () => {
  cell = await startCrm();
  own = cell.client(await cell.tenant());
  of = (await own.post("/customers", { body: { name: "Of lists" } })).body.customerId;
  const dinar = await contract({ currency: "KWD" });
  yen = await contract({ currency: "JPY", amount: "1000" });
  for (let index = 0; index < 9; index++) {
    const made = await register(index % 2 ? yen : dinar, `${index + 1}.1255`, { reference: `R-${index}`, paidAt: `2026-01-0${index + 1}` });
    if (index > 6) await own.post(`/payments/${made.body.paymentId}/void`);
  }
  await register(yen, "5", { kind: "refund", notes: "退款" });
});
afterAll(() => cell.stop());

test("totals are those of the whole filter, by currency to its minor unit; void payments are counted and add nothing", async () => {
  const { data, totals, total } = (await own.get("/payments?pageSize=2")).body;
  expect([total, data[0].amount, data[0]._masked]).toEqual([10, "****", ["amount", "overpaid"]]);
  expect(byCurrency({ totals })).toEqual({
    JPY: { count: 5, received: "12", refunded: "5", net: "7", _masked: [] },
    KWD: { count: 5, received: "16.502", refunded: "0.000", net: "16.502", _masked: [] },
  });
  const refunds = (await own.get("/payments?kind=refund&status=received")).body;
  expect(refunds).toMatchObject({
    total: 1,
    totals: { byCurrency: [{ currency: "JPY", count: 1, received: "0", refunded: "5", net: "-5" }] },
  });
});

test("a contract has received what the totals of its payments say", async () => {
  const { totals } = (await own.get(`/payments?contractId=${yen}`)).body;
  expect(byCurrency({ totals }).JPY?.net).toBe((await own.get(`/contracts/${yen}`)).body.receivedAmount);
});

test("the payment list shows a caller without amount:read only counts", async () => {
  const blind = cell.client(own.principal.tenantId, { permissions: ["crm:read"] });
  const { totals, data } = (await blind.get("/payments?kind=refund")).body;
  expect(byCurrency({ totals }).JPY).toEqual({
    count: 1,
    received: "****",
    refunded: "****",
    net: "****",
    _masked: ["received", "refunded", "net"],
  });
  expect((await blind.get(`/payments/${data[0].paymentId}`)).body.amount).toBe("****");
  expect((await blind.get("/payments?sort=-amount")).body.code).toBe("FIELD_MASKED");
  expect((await blind.get("/payments?filter=amount[eq]:5")).body.code).toBe("FIELD_MASKED");
});

test.each([
  ["status=void", 2],
  ["kind=payment", 9],
  ["filter=paidAt[gte]:2026-01-05", 6],
  ["filter=amount[gte]:5", 6],
  ["filter=overpaid[eq]:false", 10],
  ["keyword=r-3", 1],
  ["keyword=退款", 1],
  ["sort=-paidAt,reference", 10],
])("%s matches %i", async (query, total) => {
  expect((await own.get(`/payments?${query}`)).body.total).toBe(total);
});

test("customerId and contractId pick theirs", async () => {
  expect((await own.get(`/payments?customerId=${of}`)).body.total).toBe(10);
  expect((await own.get(`/payments?customerId=${randomUUID()}`)).body).toMatchObject({ total: 0, totals: { byCurrency: [] } });
  expect((await own.get(`/payments?contractId=${yen}`)).body.total).toBe(5);
});

test("paging by cursor returns every payment once", async () => {
  const seen: string[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const response = await own.get(`/payments?sort=reference,-paidAt&pageSize=3&cursor=${cursor}`);
    seen.push(...response.body.data.map((row: { paymentId: string }) => row.paymentId));
    cursor = response.body.nextCursor;
  }
  expect([seen.length, new Set(seen).size]).toEqual([10, 10]);
});
