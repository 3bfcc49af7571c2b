import { expect, test } from "vitest";
import { roleNames, roles } from "./roles.ts";

const writing = ["crm:write", "crm:import", "tenant:admin"];

test("there are five roles; sales alone works on its own records", () => {
  expect(roleNames.filter((name) => roles[name].scope === "own")).toEqual(["sales"]);
  expect(Object.keys(roles).sort()).toEqual(["admin", "auditor", "integrator", "manager", "sales"]);
});

test("the auditor reads records, reports and the trail, and can write nothing", () => {
  const { permissions } = roles.auditor;
  expect(permissions).toEqual(expect.arrayContaining(["crm:read", "report:read", "audit:read"]));
  expect(permissions.filter((permission) => writing.includes(permission))).toEqual([]);
});

test("only the administrator changes the tenant, and no role the cells", () => {
  expect(roleNames.filter((name) => roles[name].permissions.includes("tenant:admin"))).toEqual(["admin"]);
  expect(roleNames.filter((name) => roles[name].permissions.includes("cell:admin"))).toEqual([]);
});
