import type { TestCell } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inspect, startCrm } from "../testing/test-crm.ts";
import { foldedSearchMigration } from "./0019_folded_search.ts";

let cell: TestCell;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

test("what was stored before is found by its own text, phone number and e-mail address", async () => {
  const tenantId = await cell.tenant();
  const admin = cell.client(tenantId);
  const body = { name: "İstanbul Tekstil", contactPhone: "+86 138-0013-8001", contactEmail: "A.Person@Example.com" };
  const { customerId } = (await admin.post("/customers", { body })).body;
  await admin.post("/contacts", { body: { customerId, name: "ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ" } });
  for (const statement of [
    // As in the previous version.
    "alter table $tenant.customers drop column search, add column search text not null generated always as (lower(name)) stored",
    "alter table $tenant.contacts drop column search, add column search text not null generated always as (lower(name)) stored",
    "drop index $tenant.customers_phone, $tenant.customers_email, $tenant.contacts_phone, $tenant.contacts_email",
    "drop table $tenant.lookups",
    ...foldedSearchMigration.sql.map((text) => text.replaceAll('"$tenant"', "$tenant").replace(/grant .*/, "select 1")),
  ])
    await inspect(tenantId, statement);
  const found = async (path: string) => (await admin.get(path)).body.data.map(({ name }: { name: string }) => name);
  expect(await found(`/customers?keyword=${encodeURIComponent("i̇stanbul")}`)).toEqual([body.name]);
  expect(await found(`/contacts?keyword=${encodeURIComponent("παπαδοπουλος")}`)).toEqual(["ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ"]);
  expect(await found("/customers?filter=contactPhone[eq]:13800138001 and contactEmail[eq]:a.person@example.com")).toEqual([body.name]);
});
