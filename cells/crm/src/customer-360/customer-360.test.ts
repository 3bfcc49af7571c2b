import { randomUUID } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestCell, type TestClient, testAssertionKeys } from "@cell/cell/testing/test-cell";
import { verifyAssertion } from "@cell/http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byCurrency, startCrm } from "../testing/test-crm.ts";

/** The messaging cell, as its document says it answers; or one that hangs. */
let responses: "conversations" | "nothing" | "nonsense" | "forbidden" = "conversations";
let messaging: Server;
let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

beforeAll(async () => {
  messaging = createServer((request, response) => {
    if (responses === "nothing") return;
    const { "x-cell-assertion": assertion, "x-request-id": requestId } = request.headers;
    verifyAssertion(testAssertionKeys, "messaging", String(assertion), String(requestId), Math.floor(Date.now() / 1000));
    if (responses === "forbidden") response.statusCode = 403;
    const body = responses === "nonsense" ? { hello: "world" } : { total: 1, data: [{ conversationId: "c-1", unread: 2 }] };
    response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => messaging.listen(0, "127.0.0.1", resolve));
  cell = await startCrm({ messagingUrl: `http://127.0.0.1:${(messaging.address() as AddressInfo).port}` });
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  customerId = (await made("/customers", { name: "Seen from all sides", contactPhone: "13800138000" })).customerId;
  for (let index = 0; index < 12; index++) await made("/contacts", { customerId, name: `Contact ${index}`, phone: "13912345678" });
  const won = await made("/opportunities", { customerId, name: "Won", amount: "1000" });
  await admin.patch(`/opportunities/${won.opportunityId}`, { body: { stage: "won" } });
  await made("/opportunities", { customerId, name: "Open", amount: "200.50" });
  const { contractId } = await made("/contracts", { customerId, name: "Contract", amount: "1000", status: "active" });
  await made("/payments", { contractId, amount: "400", paidAt: "2026-01-05" });
  await made("/payments", { contractId, amount: "100", paidAt: "2026-01-06", kind: "refund" });
}, 60_000);
afterAll(async () => {
  await cell.stop();
  messaging.closeAllConnections();
  messaging.close();
});

async function made(path: string, body: object) {
  const response = await admin.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

const view = (client = admin, query = "") => client.get(`/customers/${customerId}/360${query}`);

test("the 360 view has every section, with the ten newest records and the lists' totals", async () => {
  responses = "conversations";
  const { body, status } = await view();
  expect(status).toBe(200);
  expect(body.customer).toMatchObject({ name: "Seen from all sides", contactPhone: "13800138000" });
  expect(body.contacts.total).toBe(12);
  expect(body.contacts.items).toHaveLength(10);
  expect(body.contacts.items[0]).toMatchObject({ name: "Contact 11", phone: "139****5678" });
  expect(body.opportunities).toMatchObject({
    total: 2,
    open: 1,
    won: 1,
    lost: 0,
    openAmount: "200.50",
    weightedAmount: "20.05",
    wonAmount: "1000.00",
    currency: "CNY",
  });
  expect(body.contracts).toMatchObject({ total: 1, active: 1, amount: "1000.00", received: "300.00", outstanding: "700.00" });
  expect(body.payments.total).toBe(2);
  expect(body.conversations).toMatchObject({ total: 1, items: [{ conversationId: "c-1", unread: 2 }] });
  expect(body.summary).toMatchObject({
    lifetimeValue: "300.00",
    openOpportunities: 1,
    firstWonAt: expect.any(String),
    lastInteractionAt: expect.any(String),
  });
  expect(body.warnings).toEqual([]);
  for (const section of ["contacts", "opportunities", "contracts", "payments"]) {
    const list = await admin.get(body[section].href.replace("/api/v1/crm", ""));
    expect(list.body.total).toBe(body[section].total);
  }
});

test("the timeline merges changes, stage moves and payments, newest first, and its cursor leaves no gap", async () => {
  const seen: { at: string; id: string; type: string }[] = [];
  let cursor: string | null = "";
  for (let step = 0; cursor !== null && step < 20; step++) {
    const response = await view(admin, `?include=timeline${cursor ? `&timelineCursor=${cursor}` : ""}`);
    seen.push(...response.body.timeline.items);
    cursor = response.body.timeline.nextCursor;
  }
  expect(new Set(seen.map((item) => `${item.type} ${item.id}`)).size).toBe(seen.length);
  expect(seen.map((item) => item.at)).toEqual(
    seen
      .map((item) => item.at)
      .sort()
      .reverse(),
  );
  const count = (type: string) => seen.filter((item) => item.type === type).length;
  expect([count("stage"), count("payment")]).toEqual([3, 2]);
  expect(count("change")).toBe((await admin.get("/audit-logs")).body.total);
  expect((await view(admin, "?timelineCursor=nonsense")).status).toBe(400);
});

test.each(["nothing", "nonsense"] as const)("a messaging cell that responds with %s causes a warning, not an error", async (how) => {
  responses = how;
  const { body, status } = await view(admin, "?include=customer,conversations");
  expect(status).toBe(200);
  expect(body.conversations).toEqual({ unavailable: true });
  expect(body.warnings).toEqual([{ section: "conversations", code: "UNAVAILABLE" }]);
});

test("conversations that the caller may not read are forbidden, without a warning", async () => {
  responses = "forbidden";
  const { body } = await view(admin, "?include=conversations");
  expect([body.conversations, body.warnings]).toEqual([{ forbidden: true }, []]);
});

test("amounts of the 360 view equal the lists' totals in every currency; drafts and void contracts do not count", async () => {
  const of = (await made("/customers", { name: "Of totals" })).customerId;
  for (const [name, status, currency] of [
    ["Draft", "draft", "CNY"],
    ["Draft in yen", "draft", "JPY"],
    ["Void", "void", "CNY"],
    ["Active", "active", "CNY"],
    ["Dollars", "active", "USD"],
  ]) {
    const { contractId } = await made("/contracts", { customerId: of, name, amount: "100.25", status, currency });
    if (status === "active") await made("/payments", { contractId, amount: "30.10", paidAt: "2026-01-05" });
  }
  const { body } = await admin.get(`/customers/${of}/360?include=contracts,payments,summary`);
  const contracts = byCurrency((await admin.get(`/contracts?customerId=${of}&filter=status[in]:active,completed,expired`)).body);
  const payments = byCurrency((await admin.get(`/payments?customerId=${of}`)).body);
  expect(Object.keys(contracts)).toEqual(["CNY", "USD"]);
  expect(body.contracts).toMatchObject({ total: 5, active: 2, amount: null, received: null });
  expect(byCurrency({ totals: body.contracts })).toEqual(contracts);
  const received = body.summary.byCurrency.map((row: { currency: string; lifetimeValue: string }) => [row.currency, row.lifetimeValue]);
  expect(received).toEqual(Object.entries(payments).map(([currency, { net }]) => [currency, net]));
});

test("the 360 view masks what the caller may not read", async () => {
  responses = "conversations";
  const { body } = await view(cell.client(tenantId, { permissions: ["crm:read"] }));
  expect(body.customer.contactPhone).toBe("138****8000");
  expect([body.opportunities.openAmount, body.contracts.received, body.summary.lifetimeValue]).toEqual(["****", "****", "****"]);
  expect(body.contracts).toMatchObject({ _masked: ["amount", "received", "outstanding"], byCurrency: [{ amount: "****" }] });
  expect(body.contracts.byCurrency[0]._masked).toEqual(["amount", "received", "outstanding"]);
});

test("the 360 view's include selects sections, and the error names an unknown one", async () => {
  const { body } = await view(admin, "?include=customer,summary");
  expect(Object.keys(body).sort()).toEqual(["customer", "generatedAt", "summary", "warnings"]);
  expect((await view(admin, "?include=customer,nonsense")).body.details.fields[0].path).toBe("include");
});

test("the 360 view of an invisible customer is a 404", async () => {
  const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  expect((await view(sales)).status).toBe(404);
  expect((await admin.get(`/customers/${randomUUID()}/360`)).status).toBe(404);
});
