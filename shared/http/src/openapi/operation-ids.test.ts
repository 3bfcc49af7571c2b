import { expect, test } from "vitest";
import { operationIdFault, operationIdOf } from "./operation-ids.ts";

test.each([
  ["get", "/customers", "customers.list"],
  ["post", "/customers", "customers.create"],
  ["get", "/customers/{id}", "customers.get"],
  ["patch", "/customers/{id}", "customers.update"],
  ["put", "/customers/{id}", "customers.replace"],
  ["delete", "/customers/{id}", "customers.delete"],
  ["post", "/customers/{id}/restore", "customers.restore"],
  ["get", "/opportunities/{id}/stage-history", "opportunities.stageHistory"],
  ["get", "/imports/{id}/errors.csv", "imports.errorsCsv"],
  ["put", "/contracts/{id}/instalments", "contracts.replaceInstalments"],
  ["get", "/customers/by-ref/{system}/{id}", "customers.getByRef"],
  ["post", "/lookup", "lookup.create"],
  ["post", "/api/admin/keys/{keyId}/rotate", "keys.rotate"],
  ["delete", "/api/admin/tenants/{tenantId}/copies", "tenants.deleteCopies"],
  ["get", "/api/me", "me.list"],
])("%s %s is %s", (method, path, id) => {
  expect(operationIdOf(method, path)).toBe(id);
  expect(operationIdFault(id, new Set())).toBeUndefined();
});

test("a missing, malformed or taken operation id is a fault that says where to set one", () => {
  for (const id of [undefined, "customers", "customers.360", "Customers.list", "customers.list.all", "customers.list"]) {
    expect(operationIdFault(id, new Set(["customers.list"]))).toMatch(/set `operationId` in the definition of its route/);
  }
});
