import { expect, test } from "vitest";
import { parseDeclaration } from "./declaration.ts";

const route = (policy: object) => ({ permissions: [], roles: {}, routes: [{ method: "GET", path: "/a", policy }] });

test("a declaration is read with its routes, roles and permissions, and what it leaves out declares nothing", () => {
  const policy = {
    bodyLimitBytes: 5,
    slow: true,
    bulkhead: "events",
    credentials: ["public"],
    rateClass: { name: "r", windowSeconds: 60, tenant: 3 },
  };
  const given = {
    permissions: ["note:read", "note:write"],
    roles: { admin: ["note:read", "note:write"], auditor: ["note:read"] },
    routes: [
      { method: "GET", path: "/notes/{id}/file.csv", policy },
      { method: "POST", path: "/" },
    ],
  };
  expect(parseDeclaration(given)).toEqual({ declaration: given, faults: [] });
  expect(parseDeclaration({})).toEqual({ declaration: { permissions: [], roles: {}, routes: [] }, faults: [] });
});

test("fields of a newer cell are left out", () => {
  const { declaration, faults } = parseDeclaration({ ...route({ slow: true, colour: "red" }), more: 1 });
  expect([declaration.routes, faults]).toEqual([[{ method: "GET", path: "/a", policy: { slow: true } }], []]);
});

test.each(["tenant:admin", "pii:read", "cell:admin", "cell:own", "note", "Note:Read", "note:read:all", ""])(
  "a cell cannot declare the permission %j as its own, and no role gets it",
  (permission) => {
    const { declaration, faults } = parseDeclaration({
      permissions: [permission, "note:read"],
      roles: { sales: [permission, "note:read"] },
      routes: [],
    });
    expect([declaration.permissions, declaration.roles]).toEqual([["note:read"], { sales: ["note:read"] }]);
    expect(faults.length).toBeGreaterThan(0);
  },
);

test.each([
  ["a bulkhead that is not known", { bulkhead: "fast" }],
  ["a credential that is not known", { credentials: ["public", "anything"] }],
  ["an error form that is not known", { errorForm: "xml" }],
  ["a body limit of nothing", { bodyLimitBytes: 0 }],
  ["a body limit past a gigabyte", { bodyLimitBytes: 2 ** 31 }],
  ["a truth that is none", { slow: "yes" }],
  ["a webhook that other credentials open, too", { webhook: "sender", credentials: ["webhook", "public"] }],
  ["a webhook without its verifier", { credentials: ["webhook"] }],
  ["a rate class without a window", { rateClass: { name: "r", token: 1 } }],
])("a policy with %s opens nothing, and the fault is named", (_, policy) => {
  const { declaration, faults } = parseDeclaration(route(policy));
  expect(declaration.routes).toEqual([{ method: "GET", path: "/a" }]);
  expect(faults).toEqual([expect.stringMatching(/^GET \/a: /)]);
});

test.each([
  ["no object", "text"],
  ["a list", []],
  ["routes that are none", { routes: {} }],
  ["a path with a pattern in it", { routes: [{ method: "GET", path: "/(.*)" }] }],
  ["a path that ends in a slash", { routes: [{ method: "GET", path: "/a/" }] }],
  ["a route without a method", { routes: [{ path: "/a" }] }],
  ["a role of no list", { roles: { admin: "all" } }],
])("%s is no declaration", (_, value) => {
  expect(() => parseDeclaration(value)).toThrow();
});
