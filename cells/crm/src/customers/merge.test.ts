import type { TestClient } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf, inspect } from "../testing/test-crm.ts";

let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ tenantId, admin } = given);
});

const newCustomer = async (name: string): Promise<string> => (await admin.post("/customers", { body: { name } })).body.customerId;
const create = async (fields: object) => {
  const response = await admin.post("/opportunities", { body: { name: "Of a customer", ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};
const read = async (id: string) => (await admin.get(`/opportunities/${id}`)).body;
const allHistory = (id: string) =>
  inspect<{ seq: number; moved: boolean; customer_id: string }>(
    tenantId,
    "select * from $tenant.opportunity_history where opportunity_id = $1 order by seq",
    [id],
  );

test("merging customers moves contacts and opportunities to the survivor in the same transaction, with an entry and a row of history each", async () => {
  const [survivor, source] = await Promise.all(["Survivor", "Source"].map((name) => newCustomer(name)));
  const made = await create({ customerId: source });
  const gone = await create({ customerId: source });
  await admin.delete(`/opportunities/${gone.opportunityId}`);
  const primary = await admin.post("/contacts", { body: { customerId: survivor, name: "First", isPrimary: true } });
  const contact = await admin.post("/contacts", { body: { customerId: source, name: "Second", isPrimary: true } });
  const merged = await admin.post(`/customers/${survivor}/merge`, { body: { sourceIds: [source] }, key: "merge-1" });
  expect(merged.status, merged.text).toBe(200);
  const again = await admin.post(`/customers/${survivor}/merge`, { body: { sourceIds: [source] }, key: "merge-1" });
  expect(again.text).toBe(merged.text);

  expect(await read(made.opportunityId)).toMatchObject({ customerId: survivor, version: 2 });
  expect((await allHistory(made.opportunityId)).map((row) => [row.seq, row.moved, row.customer_id])).toEqual([
    [1, true, source],
    [2, false, survivor],
  ]);
  expect((await auditOf(tenantId, made.opportunityId)).at(-1)).toMatchObject({
    action: "update",
    resource_version: 2,
    request_id: "merge-1",
    changes: [{ field: "customerId", before: source, after: survivor }],
  });
  const contacts = (await admin.get(`/contacts?customerId=${survivor}&filter=isPrimary[eq]:true`)).body.data;
  expect(contacts.map((row: { contactId: string }) => row.contactId)).toEqual([primary.body.contactId]);
  expect((await admin.get(`/contacts/${contact.body.contactId}`)).body).toMatchObject({ customerId: survivor, isPrimary: false });
});

test("opportunities created while their customer is merged end at the survivor or are rejected", async () => {
  const [survivor, source] = await Promise.all(["Survivor 2", "Source 2"].map((name) => newCustomer(name)));
  const creating = Array.from({ length: 20 }, () => admin.post("/opportunities", { body: { customerId: source, name: "Racing" } }));
  const [merged, ...created] = await Promise.all([
    admin.post(`/customers/${survivor}/merge`, { body: { sourceIds: [source] } }),
    ...creating,
  ]);
  expect(merged.status, merged.text).toBe(200);
  expect(created.every(({ status }) => status === 201 || status === 404)).toBe(true);
  expect((await admin.get(`/opportunities?customerId=${source}`)).body.total).toBe(0);
  expect((await admin.get(`/opportunities?customerId=${survivor}`)).body.total).toBe(created.filter(({ status }) => status === 201).length);
});
