import type { TestClient } from "@cell/cell/testing/test-cell";
import { nameKey } from "@cell/http";
import { expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf, inspect } from "../testing/test-crm.ts";
import { textFormsMigration } from "./0017_text_forms.ts";

let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ tenantId, admin } = given);
});

const made = async (path: string, body: object) => (await admin.post(path, { body })).body;

/** Runs the migration on data of the previous version. */
async function migrate(): Promise<void> {
  for (const text of [
    'drop index "$tenant".payments_reference_key',
    'alter table "$tenant".payments drop reference_key',
    `create unique index payments_reference_key on "$tenant".payments (contract_id, reference) where status = 'received'`,
    ...textFormsMigration.sql,
  ])
    await inspect(tenantId, text.replaceAll('"$tenant"', "$tenant"));
  await textFormsMigration.fill?.((text, values) => inspect(tenantId, text.replaceAll('"$tenant"', "$tenant"), values));
}

test("what was stored before has one kind of empty, and keys in which invisible characters make no difference; nothing else changes", async () => {
  const customers = [];
  for (const name of ["Acme Ltd", "h1", "h2", "h3", "h4", "h5", "h6"]) customers.push(await made("/customers", { name, level: "A" }));
  const [plain, hidden, older, younger, gone, blank, empty] = customers;
  const contractOf = (number: string) =>
    made("/contracts", { customerId: plain.customerId, name: "x", amount: "9", status: "active", number });
  const [first, second] = [await contractOf("C 1"), await contractOf("C 2")];
  const paymentOf = (reference: string) =>
    made("/payments", { contractId: first.contractId, amount: "1", paidAt: "2026-01-31", reference });
  const payments = [await paymentOf("p1"), await paymentOf("p2"), await paymentOf("p3"), await paymentOf("p4")];
  const contact = await made("/contacts", { customerId: plain.customerId, name: "x", title: "t", phone: "123" });
  const opportunity = await made("/opportunities", { customerId: plain.customerId, name: "x", stage: "lost", lostReason: "r" });
  await admin.delete(`/customers/${gone.customerId}`);
  // As the previous version wrote them.
  const named = (id: string, name: string) =>
    inspect(tenantId, "update $tenant.customers set name = $2, name_key = $3 where customer_id = $1", [
      id,
      name,
      `${name.toLowerCase()}${id}`,
    ]);
  await named(hidden.customerId, "Acme\u200b Ltd");
  await named(older.customerId, "Beta\u00ad");
  await named(younger.customerId, "\ufeffBeta");
  await named(gone.customerId, "Acme\u2060 Ltd");
  await named(blank.customerId, "\u200b");
  await named(empty.customerId, "\u{e0041}");
  await inspect(
    tenantId,
    `update $tenant.customers set level = '', contact_phone = '', contact_email = '\u200b', notes = '\u3164\u{e0020}', address = ' a ', source = 's'
      where customer_id = $1`,
    [plain.customerId],
  );
  await inspect(tenantId, "update $tenant.contacts set title = '', phone = '' where contact_id = $1", [contact.contactId]);
  await inspect(tenantId, "update $tenant.opportunities set lost_reason = ''");
  await inspect(tenantId, "update $tenant.contracts set number = 'c\u200b 1', number_key = 'x' where contract_id = $1", [
    second.contractId,
  ]);
  for (const [index, reference] of ["TX 1", "tx 1", "ＴＸ 1", "Other"].entries())
    await inspect(tenantId, "update $tenant.payments set reference = $2 where payment_id = $1", [payments[index].paymentId, reference]);
  const before = await auditOf(tenantId, plain.customerId);

  await migrate();

  expect((await admin.get(`/customers/${plain.customerId}`)).body).toMatchObject({
    level: null,
    contactPhone: null,
    contactEmail: null,
    notes: null,
    address: " a ",
    source: "s",
    version: plain.version,
    updatedAt: plain.updatedAt,
  });
  expect((await admin.get("/customers?filter=contactPhone[isNull]:true and level[isNull]:true")).body.total).toBe(1);
  expect((await admin.get(`/contacts/${contact.contactId}`)).body).toMatchObject({ title: null, phone: null });
  expect((await admin.get(`/opportunities/${opportunity.opportunityId}`)).body.lostReason).toBeNull();
  expect((await admin.patch(`/opportunities/${opportunity.opportunityId}`, { body: { name: "y" } })).status).toBe(200);
  expect(await auditOf(tenantId, plain.customerId)).toEqual(before);

  const keys = async (table: string, id: string, key: string) =>
    Object.fromEntries(
      (await inspect<{ id: string; key: string }>(tenantId, `select ${id} as id, ${key} as key from $tenant.${table}`)).map((row) => [
        row.id,
        row.key,
      ]),
    );
  const names = await keys("customers", "customer_id", "name_key");
  // The record with the name keeps it, else the oldest gets it; the others stay beside it.
  expect(names).toEqual({
    [plain.customerId]: "acme ltd",
    [hidden.customerId]: `acme ltd\n${hidden.customerId}`,
    [older.customerId]: "beta",
    [younger.customerId]: `beta\n${younger.customerId}`,
    [gone.customerId]: "acme ltd",
    [blank.customerId]: "",
    [empty.customerId]: `\n${empty.customerId}`,
  });
  expect(await keys("contracts", "contract_id", "number_key")).toEqual({
    [first.contractId]: "c 1",
    [second.contractId]: `c 1\n${second.contractId}`,
  });
  expect(await keys("payments", "payment_id", "reference_key")).toEqual({
    [payments[0].paymentId]: "tx 1",
    [payments[1].paymentId]: `tx 1\n${payments[1].paymentId}`,
    [payments[2].paymentId]: `tx 1\n${payments[2].paymentId}`,
    [payments[3].paymentId]: nameKey("Other"),
  });

  // A record with a colliding name can be changed; another one cannot take the name, nor can this one take it back.
  const path = `/customers/${hidden.customerId}`;
  expect((await admin.patch(path, { body: { level: "B" } })).status).toBe(200);
  const items = [{ customerId: hidden.customerId, name: "Acme\u200b Ltd", level: "C" }];
  expect((await admin.post("/customers/import", { body: { items, mode: "update", matchBy: "customerId" } })).body.updated).toBe(1);
  expect((await admin.post("/customers", { body: { name: "acme ltd" } })).body.details).toEqual({ existingId: plain.customerId });
  expect((await admin.patch(path, { body: { name: "ACME LTD" } })).status).toBe(409);
  expect((await admin.patch(path, { body: { name: "Renamed" } })).status).toBe(200);
  expect((await admin.patch(path, { body: { name: "Acme\u200b Ltd" } })).status).toBe(409);
  expect((await admin.patch(`/contracts/${second.contractId}`, { body: { name: "y" } })).status).toBe(200);
  expect((await admin.post(`/customers/${gone.customerId}/restore`)).status).toBe(409);
  const repeated = { contractId: first.contractId, amount: "1", paidAt: "2026-01-31", reference: "tx 1" };
  expect((await admin.post("/payments", { body: repeated })).body.details.existingId).toBe(payments[0].paymentId);
});
