import type { CellDeclaration, Permission } from "@cell/http";
import { expect, test } from "vitest";
import { testDeclaration } from "../testing/cell.ts";
import { RolePermissions, roleNames, roles } from "./roles.ts";

function permissionsWith(...declarations: [string, CellDeclaration][]): RolePermissions {
  const permissions = new RolePermissions();
  permissions.update(new Map(declarations));
  return permissions;
}

const declares = (permissions: Permission[], given: Record<string, Permission[]>) => ({ permissions, roles: given, routes: [] });

test("there are five roles; only sales is limited to its own records", () => {
  expect(roleNames.filter((name) => roles[name].scope === "own")).toEqual(["sales"]);
  expect(Object.keys(roles).sort()).toEqual(["admin", "auditor", "integrator", "manager", "sales"]);
});

test("the auditor reads the audit trail, and can write nothing in a cell", () => {
  const auditor = permissionsWith(["crm", testDeclaration]).of("auditor");
  expect(auditor).toEqual(["crm:read", "crm:export", "report:read", "audit:read", "amount:read"]);
});

test("only the administrator changes the tenant, and no role changes the cells", () => {
  const permissions = permissionsWith(["crm", testDeclaration]);
  expect(roleNames.filter((name) => permissions.of(name).includes("tenant:admin"))).toEqual(["admin"]);
  expect(roleNames.filter((name) => permissions.of(name).includes("cell:admin"))).toEqual([]);
  expect(permissions.grantable).not.toContain("cell:admin");
});

test("a role has the permissions that each cell declares for it, besides the framework's, and none before the declaration", () => {
  const second = declares(["chat:read", "chat:write"], { sales: ["chat:read"] });
  expect(permissionsWith().of("sales")).toEqual(["pii:read", "amount:read", "pii:match"]);
  const both = permissionsWith(["crm", testDeclaration], ["chat", second]);
  expect(both.of("sales")).toEqual([
    "crm:read",
    "crm:write",
    "crm:export",
    "report:read",
    "chat:read",
    "pii:read",
    "amount:read",
    "pii:match",
  ]);
  expect(both.of("admin")).not.toContain("chat:read");
  expect(both.grantable).toEqual(expect.arrayContaining(["chat:write", "crm:import", "pii:reveal"]));
});

test("a cell cannot give a role a permission that another cell declared first", () => {
  const second = declares(["crm:write"], { auditor: ["crm:write"] });
  expect(permissionsWith(["crm", testDeclaration], ["chat", second]).of("auditor")).not.toContain("crm:write");
});
