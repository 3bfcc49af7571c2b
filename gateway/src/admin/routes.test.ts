import { expect, test } from "vitest";
import { createTenant, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let gateway: TestGateway;

gatewayPerFile((given) => {
  ({ gateway } = given);
});

test("a method that a path does not take is 405 with the methods that it takes, on the administration and on open paths", async () => {
  for (const [path, allowed] of [
    ["/api/admin/tenants", "GET, POST"],
    ["/api/admin/tenants/t-1", "GET, PATCH, DELETE"],
    ["/api/admin/keys/0197c3a0-11d4-7b5c-8e3f-62a9d0c4e871/rotate", "POST"],
    ["/docs", "GET"],
    ["/health", "GET"],
  ] as const) {
    const { status, body, headers } = await gateway.call(path, { method: "PUT" });
    expect([status, body.code, headers.get("allow")]).toEqual([405, "METHOD_NOT_ALLOWED", allowed]);
  }
});

test("only a caller with a token learns which paths of the administration exist", async () => {
  for (const path of ["/api/admin", "/api/admin/nothing", "/api/admin/tenants"]) {
    expect((await gateway.call(path, { key: "", method: "PUT" })).status).toBe(401);
  }
  const { key } = await createTenant(gateway, "paths");
  expect((await gateway.call("/api/admin/nothing", { key })).body.code).toBe("NOT_FOUND");
  expect((await gateway.call("/nothing", { key: "" })).body.code).toBe("NOT_FOUND");
});

test("a path with a slash at its end is the same path", async () => {
  for (const path of ["/api/admin/tenants/", "/docs/", "/health/"]) expect((await gateway.call(path)).status).toBe(200);
});

test("a body that a route needs and does not get is reported field by field", async () => {
  const { status, body } = await gateway.call<{ details: { fields: unknown[] } }>("/api/admin/tenants", { method: "POST" });
  expect([status, body.details.fields]).toEqual([
    400,
    [expect.objectContaining({ path: "tenantId", code: "REQUIRED" }), expect.objectContaining({ path: "name", code: "REQUIRED" })],
  ]);
});
