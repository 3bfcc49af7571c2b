import { closedPolicy, type RouteDeclaration, type RoutePolicy } from "@cell/http";
import { expect, test } from "vitest";
import { RoutePolicies } from "./route-policy.ts";

const route = (line: string, policy?: Partial<RoutePolicy>): RouteDeclaration => {
  const [method = "", path = ""] = line.split(" ");
  return policy ? { method, path, policy } : { method, path };
};

const policies = new RoutePolicies([
  route("GET /customers"),
  route("GET /customers/{id}", { errorForm: "detail" }),
  route("GET /customers/export"),
  route("POST /customers/import", { bodyLimitBytes: 5, bulkhead: "streams" }),
  route("GET /imports/{id}/errors.csv", { slow: true }),
  route("GET /{any}/x", { errorForm: "success" }),
  route("GET /fixed/{any}", { errorForm: "error" }),
  route("DELETE /customers/{id}"),
  route("POST /open", { credentials: ["public"] }),
  route("GET /{any}/{other}/private"),
  route("GET /shared/{other}/{name}", { credentials: ["public"] }),
]);

test.each([
  ["POST /customers/import", { bodyLimitBytes: 5, bulkhead: "streams", slow: false }],
  ["POST /customers/import/", { bodyLimitBytes: 5 }],
  ["GET /customers/42", { errorForm: "detail" }],
  ["HEAD /customers/42", { errorForm: "detail" }],
  ["GET /imports/0197/errors.csv", { slow: true }],
  ["GET /imports/0197/errors.csv/", { slow: true }],
  ["GET /fixed/x", { errorForm: "error" }],
  ["GET /other/x", { errorForm: "success" }],
  ["GET /shared/a/b", { errorForm: "problem" }],
])("%s has the policy that its route declares", (line, policy) => {
  const { method, path } = route(line);
  expect(policies.of(method, path)).toMatchObject(policy);
});

test.each([
  "GET /customers/import",
  "GET /customers/export",
  "GET /customers",
  "POST /customers/42",
  "DELETE /customers/42",
  "GET /imports/1/errorsxcsv",
  "GET /imports/1/2/errors.csv",
  "GET /nothing/of/this",
  "GET /",
  "PURGE /open",
])("the route %s declares nothing, and is closed", (line) => {
  const { method, path } = route(line);
  expect(policies.of(method, path)).toBe(closedPolicy);
});

test("a route of the same form that declares nothing is not opened by a pattern beside it", () => {
  expect(policies.of("GET", "/shared/a/b").credentials).toContain("public");
  expect(policies.of("GET", "/other/a/private")).toBe(closedPolicy);
});

test("only a public route accepts every caller, with or without a credential", () => {
  expect(policies.of("POST", "/open").credentials).toEqual(expect.arrayContaining(["public", "key", "jwt", "session", "customer"]));
  expect(closedPolicy.credentials).toEqual(["key", "jwt", "session"]);
});
