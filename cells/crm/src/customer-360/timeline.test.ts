import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import type { Permission } from "@cell/http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { auditOf, startCrm } from "../testing/test-crm.ts";

interface Item {
  type: string;
  action: string;
  resourceType: string;
  resourceId: string;
  details: string[];
  changes: { field: string; before: unknown; after: unknown }[];
  _masked: string[];
}

let cell: TestCell;
let tenantId: string;
let manager: TestClient;
let anna: TestClient;
let customerId: string;
let contactId: string;
const opportunities: Record<string, string> = {};

beforeAll(async () => {
  cell = await startCrm();
  tenantId = await cell.tenant();
  manager = caller("manager", "tenant", "crm:write", "pii:read", "amount:read", "pii:reveal");
  anna = caller("anna", "own", "crm:write", "pii:read", "amount:read");
  customerId = (await made(anna, "/customers", { name: "Anna's", contactPhone: "13800138000" })).customerId;
  contactId = (await made(anna, "/contacts", { customerId, name: "王芳", phone: "13912345678" })).contactId;
  for (const owner of ["anna", "ben"]) {
    const body = { customerId, name: `${owner}'s deal`, amount: "777.70", ownerId: owner };
    opportunities[owner] = (await made(manager, "/opportunities", body)).opportunityId;
    await manager.patch(`/opportunities/${opportunities[owner]}`, { body: { stage: "proposal", amount: "888.80" } });
  }
  await manager.patch(`/customers/${customerId}`, { body: { contactPhone: "13800138001", level: "A" } });
  const { contractId } = await made(anna, "/contracts", { customerId, name: "Contract", amount: "1000", status: "active" });
  const { paymentId } = await made(anna, "/payments", { contractId, amount: "400", paidAt: "2026-01-05" });
  await anna.post(`/payments/${paymentId}/void`, { body: { reason: "typo" } });
});
afterAll(() => cell.stop());

function caller(userId: string, scope: "own" | "tenant", ...permissions: Permission[]): TestClient {
  return cell.client(tenantId, { userId, scope, permissions: ["crm:read", ...permissions] });
}

async function made(client: TestClient, path: string, body: object) {
  const response = await client.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

/** All pages of the timeline. */
async function timeline(client: TestClient, query = ""): Promise<{ items: Item[]; text: string }> {
  const items: Item[] = [];
  let text = "";
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page = cursor === "" ? "" : `&timelineCursor=${cursor}`;
    const response = await client.get(`/customers/${customerId}/360?include=timeline${page}${query}`);
    expect(response.status, response.text).toBe(200);
    items.push(...response.body.timeline.items);
    text += response.text;
    cursor = response.body.timeline.nextCursor;
  }
  return { items, text };
}

const clear = /13800138000|13800138001|13912345678|777\.7|888\.8|"1000|"400/;

test("the timeline needs crm:read, and masks changes as in lists", async () => {
  for (const client of [caller("agent", "tenant"), manager]) {
    const { items, text } = await timeline(client);
    expect(new Set(items.map(({ type }) => type))).toEqual(new Set(["change", "stage", "payment"]));
    expect(text).not.toMatch(clear);
    const changed = items.find(({ resourceId, action }) => resourceId === customerId && action === "update");
    expect(changed).toMatchObject({
      details: ["contactPhone", "level"],
      changes: [
        { field: "contactPhone", before: "138****8000", after: "138****8001" },
        { field: "level", before: null, after: "A" },
      ],
      _masked: ["contactPhone"],
    });
    const amended = items.find(
      ({ resourceId, changes }) => resourceId === opportunities.anna && changes.some(({ field }) => field === "stage"),
    );
    expect(amended?.changes).toContainEqual({ field: "amount", before: "****", after: "****" });
    const voided = items.find(({ action }) => action === "void");
    expect(voided).toMatchObject({ details: ["status", "voidReason"], _masked: [] });
  }
});

test("the timeline shows a request's origin only to readers of the audit trail", async () => {
  const names = ["requestId", "ip", "userAgent"];
  for (const item of (await timeline(manager)).items)
    expect(Object.keys(item)).not.toEqual(expect.arrayContaining([expect.stringMatching(/requestId|ip|userAgent/)]));
  const { items } = await timeline(caller("auditor", "tenant", "audit:read"));
  const change: object = items.find(({ type }) => type === "change") ?? {};
  expect(Object.keys(change)).toEqual(expect.arrayContaining(names));
  expect(change).toMatchObject({ requestId: expect.stringMatching(/^req-/), userAgent: expect.any(String) });
});

test("the timeline shows a caller limited to its own records nothing of other owners' opportunities", async () => {
  const { items, text } = await timeline(anna);
  expect(items.some(({ resourceId }) => resourceId === opportunities.anna)).toBe(true);
  expect(items.some(({ resourceId }) => resourceId === contactId)).toBe(true);
  expect(text).not.toContain(opportunities.ben);
  expect(text).not.toContain("ben's deal");
  expect((await timeline(manager)).text).toContain("ben's deal");
  const other = await caller("ben", "own").get(`/customers/${customerId}/360?include=timeline`);
  expect(other.status).toBe(404);
});

test("the timeline's reveal=amount unmasks amounts, old ones too, without an audit entry, and needs amount:read", async () => {
  const { text, items } = await timeline(anna, "&reveal=amount");
  expect(text).toMatch(/"after":"888\.80?"/);
  expect(text).not.toMatch(/13800138000|13800138001|13912345678/);
  expect(items.some(({ _masked }) => _masked.includes("amount"))).toBe(false);
  expect((await auditOf(tenantId, customerId)).map(({ action }) => action)).toEqual(["create", "update"]);
  const blind = await caller("agent", "tenant").get(`/customers/${customerId}/360?include=timeline&reveal=amount`);
  expect(blind.status).toBe(403);
});

test("reveal clears the other sections of the view too; a phone needs pii:reveal and an entry for each record shown", async () => {
  const path = `/customers/${customerId}/360?include=customer,contacts,opportunities,contracts,payments`;
  const amounts = (await anna.get(`${path}&reveal=amount`)).body;
  for (const section of ["opportunities", "contracts", "payments"]) expect(amounts[section].items[0]._masked).toEqual([]);
  expect(amounts.contacts.items[0].phone).toBe("139****5678");
  expect((await anna.get(`${path}&reveal=phone`)).status).toBe(403);
  expect((await manager.get(`${path}&reveal=phone`)).body.contacts.items[0].phone).toBe("13912345678");
  expect((await auditOf(tenantId, contactId)).map(({ action }) => action)).toEqual(["create", "reveal"]);
  expect((await manager.get(`${path}&reveal=contactPhone`)).body.customer.contactPhone).toBe("13800138001");
  expect((await auditOf(tenantId, customerId)).map(({ action }) => action)).toEqual(["create", "update"]);
  expect((await manager.get(`${path}&reveal=name`)).body.details.fields[0].path).toBe("reveal");
});

test("a phone revealed in the timeline alone has an entry for each record whose changes show it", async () => {
  const entries = async () =>
    Promise.all([customerId, contactId].map(async (id) => (await auditOf(tenantId, id)).filter(({ action }) => action === "reveal")));
  expect((await manager.patch(`/contacts/${contactId}`, { body: { phone: "13912345679" } })).status).toBe(200);
  const before = await entries();
  const response = await manager.get(`/customers/${customerId}/360?include=timeline&reveal=contactPhone,phone`);
  expect(response.text).toMatch(/13800138001/);
  expect(response.text).toMatch(/13912345679/);
  const after = await entries();
  expect(after.map((of, index) => of.length - (before[index]?.length ?? 0))).toEqual([1, 1]);
  expect(after.map((of) => of.at(-1)?.changes)).toEqual(["contactPhone", "phone"].map((field) => [{ field, before: null, after: null }]));
  await manager.get(`/customers/${customerId}/360?include=contacts,timeline&reveal=phone`);
  expect((await entries()).map((of, index) => of.length - (after[index]?.length ?? 0))).toEqual([0, 1]);
});

test("revealing a phone number is neither a change in the timeline nor an interaction", async () => {
  const before = (await manager.get(`/customers/${customerId}/360?include=summary`)).body.summary.lastInteractionAt;
  await manager.get("/contacts?reveal=phone");
  expect((await timeline(manager)).items.some(({ action }) => action === "reveal")).toBe(false);
  expect((await manager.get(`/customers/${customerId}/360?include=summary`)).body.summary.lastInteractionAt).toBe(before);
});
