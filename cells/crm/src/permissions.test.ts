import { expect, test } from "vitest";
import { permissions, roles } from "./permissions.ts";

test("administrators and managers have every permission of the cell, and the auditor reads and exports alone", () => {
  expect([roles.admin, roles.manager]).toEqual([permissions, permissions]);
  expect(roles.auditor).toEqual(["crm:read", "crm:export", "report:read"]);
});

test("sales cannot import, and integrations read no reports", () => {
  expect(roles.sales).toEqual(["crm:read", "crm:write", "crm:export", "report:read"]);
  expect(roles.integrator).toEqual(["crm:read", "crm:write", "crm:import", "crm:export"]);
});
