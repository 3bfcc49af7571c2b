import type { TestCell } from "@cell/cell/testing/test-cell";
import { type CellDeclaration, type CredentialClass, cellAdmin, declarationPath } from "@cell/http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { permissions, roles } from "./permissions.ts";
import { startCrm } from "./testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
beforeAll(async () => {
  cell = await startCrm();
  tenantId = await cell.tenant();
});
afterAll(() => cell.stop());

const gateway = () => cell.client("", { userId: "operator", actorType: "operator", permissions: [cellAdmin] });

async function readDeclaration(): Promise<CellDeclaration> {
  const response = await fetch(cell.url + declarationPath, { headers: gateway().headers() });
  expect(response.status).toBe(200);
  return (await response.json()) as CellDeclaration;
}

test("the cell declares its permissions, its roles and every route only to the gateway", async () => {
  const declaration = await readDeclaration();
  expect(declaration).toMatchObject({ permissions, roles });
  const routes = declaration.routes.map(({ method, path }) => `${method} ${path}`);
  expect(routes).toContain("GET /customers/{id}");
  expect((await fetch(cell.url + declarationPath)).status).toBe(401);
  const headers = cell.client(tenantId).headers();
  expect((await fetch(cell.url + declarationPath, { headers })).status).toBe(403);
});

test("the routes that may take long, among streams or among the tenant's requests, are these and no other", async () => {
  const { routes } = await readDeclaration();
  const slow = routes.flatMap(({ method, path, policy }) => (policy?.slow ? [`${method} ${path} ${policy.bulkhead ?? "requests"}`] : []));
  expect(slow.sort()).toEqual([
    "GET /audit-logs/verify streams",
    "GET /customers/export streams",
    "GET /imports/{id}/errors.csv streams",
    "GET /metrics requests",
    "GET /opportunities/export streams",
    "GET /opportunities/forecast requests",
    "GET /pipeline/funnel requests",
    "GET /pipeline/summary requests",
    "GET /reports/funnel requests",
    "POST /customers/import streams",
    "POST /imports/{id}/revert streams",
    "POST /opportunities/import streams",
  ]);
});

test("only imports accept larger bodies, and the document says so", async () => {
  const { routes } = await readDeclaration();
  const large = routes.flatMap(({ path, policy }) => (policy?.bodyLimitBytes === undefined ? [] : [[path, policy.bodyLimitBytes]]));
  expect(large).toEqual([
    ["/customers/import", 64 * 1024 * 1024],
    ["/opportunities/import", 64 * 1024 * 1024],
  ]);
  expect(cell.document.paths["/customers/import"]?.post?.["x-gateway"]).toMatchObject({ slow: true, bulkhead: "streams" });
});

test.each<[CredentialClass, number]>([
  ["key", 200],
  ["jwt", 200],
  ["session", 200],
  ["customer", 403],
  ["public", 403],
  ["webhook", 403],
])("a route that declares nothing answers a credential of the class %s with %i, whatever its permissions", async (credential, status) => {
  const { principal } = cell.client(tenantId);
  expect((await cell.client(tenantId, { ...principal, credential }).get("/customers")).status).toBe(status);
});
