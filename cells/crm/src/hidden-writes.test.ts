import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import type { Permission } from "@cell/http";
import { expect, test } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect } from "./testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
/** May write, and read neither phones and e-mails nor amounts. */
let blind: TestClient;
const paths: Record<string, string> = {};

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  blind = cell.client(tenantId, { userId: "integrator", permissions: ["crm:read", "crm:write"] as Permission[] });
  const made = async (path: string, body: object) => (await admin.post(path, { body })).body;
  const { customerId } = await made("/customers", { name: "Buyer", contactPhone: "13800138000", contactEmail: "contact@example.com" });
  const { contactId } = await made("/contacts", { customerId, name: "王芳", phone: "13912345678", email: "wang@example.com" });
  const { opportunityId } = await made("/opportunities", { customerId, name: "Deal", amount: "777.70" });
  const { contractId } = await made("/contracts", { customerId, name: "Contract", amount: "1000" });
  Object.assign(paths, {
    customers: `/customers/${customerId}`,
    contacts: `/contacts/${contactId}`,
    opportunities: `/opportunities/${opportunityId}`,
    contracts: `/contracts/${contractId}`,
  });
});

/** What a caller can see of a PATCH, with times and ids left out. */
async function tracesOf(path: string, body: object) {
  const before = (await blind.get(path)).body;
  const answer = await blind.patch(path, { body });
  expect(answer.status, answer.text).toBe(200);
  const after = (await blind.get(path)).body;
  const [, resource = "", id = ""] = path.split("/");
  const entries = (await admin.get(`/audit-logs?resourceId=${id}&pageSize=1`)).body.data;
  const [history] = await inspect<{ rows: string }>(tenantId, "select count(*) as rows from $tenant.opportunity_history");
  const asOf = resource === "opportunities" ? `?asOf=${new Date().toISOString()}` : "";
  return {
    versions: after.version - before.version,
    isUpdated: after.updatedAt !== before.updatedAt,
    etag: Number(answer.headers.get("etag")?.replaceAll('"', "")) - before.version,
    entry: {
      version: entries[0].resourceVersion - before.version,
      fields: entries[0].changes.map(({ field }: { field: string }) => field),
    },
    history: Number(history?.rows),
    isListedAsUpdated: (await blind.get(`/${resource}${asOf}`)).body.data[0].updatedAt === after.updatedAt,
  };
}

test.each([
  ["customers", "contactPhone", "13800138000", "13800138001"],
  ["customers", "contactEmail", "contact@example.com", "conduct@example.com"],
  ["contacts", "phone", "13912345678", "13912345679"],
  ["contacts", "email", "wang@example.com", "wong@example.com"],
  ["opportunities", "amount", "777.70", "777.71"],
  ["contracts", "amount", "1000", "1001"],
])(
  "PATCH of %s by a writer who cannot read %s does not tell whether the value is the stored one",
  async (resource, field, right, wrong) => {
    const path = paths[resource] ?? "";
    const first = await tracesOf(path, { [field]: right });
    const second = await tracesOf(path, { [field]: wrong });
    expect({ ...first, history: 0 }).toEqual({ ...second, history: 0 });
    expect(first).toMatchObject({ versions: 1, isUpdated: true, etag: 1, entry: { version: 1, fields: [field] } });
    if (resource === "opportunities") expect(second.history - first.history).toBe(1);
    expect((await admin.patch(path, { body: { [field]: right } })).status).toBe(200);
  },
);

test("PATCH with a stored value by a writer who can read it, a masked value or an empty one changes nothing", async () => {
  const { customers = "" } = paths;
  await admin.patch(customers, { body: { contactEmail: null } });
  const before = (await admin.get(customers)).body;
  for (const [client, body] of [
    [admin, { contactPhone: "13800138000" }],
    [blind, { contactPhone: "138****8000" }],
    [blind, { contactEmail: null }],
    [blind, { name: "Buyer" }],
  ] as const)
    expect((await client.patch(customers, { body })).body.version).toBe(before.version);
});
