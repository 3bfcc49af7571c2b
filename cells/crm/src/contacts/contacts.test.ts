import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { newCustomer } from "../testing/requests.ts";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = await newCustomer(admin, "Of contacts");
});

const create = async (fields: object = {}) => {
  const response = await admin.post("/contacts", { body: { customerId, name: "张伟", phone: "13800138000", ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};

test("a contact is created masked, replayed, read in the clear, changed and deleted, with an entry for each", async () => {
  const body = { customerId, name: "李娜", phone: "13912345678", email: "li@example.com" };
  const first = await admin.post("/contacts", { body, key: "contact-1" });
  expect(first.body).toMatchObject({ customerId, name: "李娜", phone: "139****5678", email: "***@example.com", isPrimary: false });
  expect((await admin.post("/contacts", { body, key: "contact-1" })).text).toBe(first.text);
  const { contactId } = first.body;
  expect((await admin.get(`/contacts/${contactId}`)).body.phone).toBe("13912345678");
  expect((await admin.patch(`/contacts/${contactId}`, { body: { title: "CTO", phone: "139****5678" } })).body).toMatchObject({
    title: "CTO",
    version: 2,
  });
  expect((await admin.delete(`/contacts/${contactId}`)).body).toEqual({ contactId, deleted: true });
  expect((await admin.get(`/contacts/${contactId}`)).status).toBe(404);
  expect((await auditOf(tenantId, contactId)).map((entry) => entry.action)).toEqual(["create", "update", "delete"]);
});

test("a contact of an unknown customer is rejected", async () => {
  const response = await admin.post("/contacts", { body: { customerId: randomUUID(), name: "Nobody" } });
  expect([response.status, response.body.details]).toEqual([404, { field: "customerId" }]);
});

test("a customer has one primary contact: a new one makes the previous one non-primary, with an audit entry", async () => {
  const first = await create({ isPrimary: true });
  const second = await create({ isPrimary: true });
  expect((await admin.get(`/contacts/${first.contactId}`)).body).toMatchObject({ isPrimary: false, version: 2 });
  await admin.patch(`/contacts/${first.contactId}`, { body: { isPrimary: true }, key: "primary" });
  expect((await admin.get(`/contacts/${second.contactId}`)).body.isPrimary).toBe(false);
  expect((await auditOf(tenantId, second.contactId)).at(-1)?.changes).toEqual([{ field: "isPrimary", before: true, after: false }]);
  const primaries = await admin.get(`/contacts?customerId=${customerId}&filter=isPrimary[eq]:true`);
  expect(primaries.body.data.map((row: { contactId: string }) => row.contactId)).toEqual([first.contactId]);
});

test("a caller limited to its own records only sees the contacts of its own customers", async () => {
  const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  const { contactId } = await create();
  expect((await sales.get(`/contacts/${contactId}`)).status).toBe(404);
  expect((await sales.get("/contacts")).body.total).toBe(0);
  expect((await sales.post("/contacts", { body: { customerId, name: "Hidden" } })).status).toBe(404);
  const own = await sales.post("/customers", { body: { name: "Own customer" } });
  await sales.post("/contacts", { body: { customerId: own.body.customerId, name: "Seen" } });
  expect((await sales.get("/contacts")).body.data.map((row: { name: string }) => row.name)).toEqual(["Seen"]);
});

test("the contacts' keyword searches name, title and notes", async () => {
  await create({ name: "Searchable", title: "采购总监", notes: "met in Köln" });
  for (const keyword of ["searchABLE", "采购", "köln"])
    expect((await admin.get(`/contacts?keyword=${encodeURIComponent(keyword)}`)).body.total).toBe(1);
});
