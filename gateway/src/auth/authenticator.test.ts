import { sendRaw } from "@cell/http/testing/raw";
import { expect, test } from "vitest";
import type { TestCell } from "../testing/cell.ts";
import { createTenant, issueKey, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let cell: TestCell;
let gateway: TestGateway;
let key: string;

interface Echo {
  caller: { principal: Record<string, unknown>; requestId: string; requestIdIsKey: boolean };
}

gatewayPerFile(async (given) => {
  ({ gateway, cell } = given);
  ({ key } = await createTenant(gateway, "tenant-a"));
  await createTenant(gateway, "tenant-b");
});

const get = (init: Parameters<TestGateway["call"]>[1]) => gateway.call<Echo & { code: string }>("/api/v1/crm/customers", init);

test("without a key, or with a wrong one, nothing is let in", async () => {
  const before = cell.requests.length;
  const bad = ["crm_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "x", `${key}x`];
  for (const wrong of ["", ...bad]) {
    const response = await get({ key: wrong, tenantId: "tenant-a" });
    expect([response.status, response.body.code]).toEqual([401, "UNAUTHORIZED"]);
    const challenge = response.headers.get("www-authenticate") ?? "";
    if (wrong === "") expect(challenge).toBe('Bearer realm="Cell CRM"');
    else expect(challenge).toMatch(/^Bearer realm="Cell CRM", error="invalid_token", error_description="[\x20\x21\x23-\x5b\x5d-\x7e]+"$/);
  }
  const send = async (authorization: string) => {
    const response = await gateway.call("/api/v1/crm/customers", { key: "", tenantId: "tenant-a", headers: { authorization } });
    return [response.status, response.headers.get("www-authenticate")];
  };
  expect(await send("Basic eDp5")).toEqual([401, 'Bearer realm="Cell CRM"']);
  expect(await send("Bearer a b")).toEqual([401, expect.stringContaining('error="invalid_token"')]);
  expect(cell.requests.length).toBe(before);
});

test("a token without the needed permissions gets an RFC 6750 challenge that lists the missing ones", async () => {
  const { key: auditor } = await issueKey(gateway, { tenantId: "tenant-a", userId: "auditor-1", role: "auditor" });
  const challengeOf = async (path: string, json?: object) =>
    (await gateway.call(path, { key: auditor, ...(json ? { json } : {}) })).headers.get("www-authenticate");
  const granting = await challengeOf("/api/admin/keys", { userId: "u", role: "sales" });
  expect(granting).toMatch(/^Bearer realm="Cell CRM", error="insufficient_scope", error_description="[^"]+", scope="tenant:admin"$/);
  expect(await challengeOf("/api/admin/cells")).toMatch(/error="insufficient_scope", error_description="[^"]+"$/);
  const elsewhere = await get({ key: auditor, tenantId: "tenant-b" });
  expect([elsewhere.status, elsewhere.headers.get("www-authenticate")]).toEqual([403, null]);
});

test("the case of the Bearer scheme does not matter", async () => {
  const response = await gateway.call("/api/v1/crm/customers", {
    key: "",
    tenantId: "tenant-a",
    headers: { authorization: `bearer ${key}` },
  });
  expect(response.status).toBe(200);
});

test("X-Tenant-Id is required and must be the key's own tenant; a foreign tenant looks like an unknown one", async () => {
  expect((await get({ key })).body.code).toBe("BAD_REQUEST");
  const [foreign, unknown] = [await get({ key, tenantId: "tenant-b" }), await get({ key, tenantId: "tenant-nobody" })];
  expect([foreign.status, foreign.body.code]).toEqual([403, "TENANT_MISMATCH"]);
  const message = (response: typeof foreign) => ({ ...response.body, requestId: "" });
  expect([unknown.status, message(unknown)]).toEqual([403, message(foreign)]);
  expect((await get({ key, tenantId: "TENANT-A" })).status).toBe(403);
});

test("the operator's key belongs to no tenant and cannot access any tenant's data", async () => {
  expect((await get({ tenantId: "tenant-a" })).body.code).toBe("TENANT_MISMATCH");
});

test("the assertion names tenant, user, rights and request, and only the caller's own request id is an idempotency key", async () => {
  const sent = await get({ key, tenantId: "tenant-a", headers: { "x-request-id": "req-uuid-001" } });
  expect(sent.headers.get("x-request-id")).toBe("req-uuid-001");
  expect(sent.body.caller).toMatchObject({ requestId: "req-uuid-001", requestIdIsKey: true });
  expect(sent.body.caller.principal).toMatchObject({ tenantId: "tenant-a", userId: "user-001", actorType: "user", scope: "tenant" });
  expect(sent.body.caller.principal.permissions).toContain("tenant:admin");
  expect(sent.body.caller.principal.permissions).not.toContain("cell:admin");
  const made = await get({ key, tenantId: "tenant-a" });
  expect(made.body.caller).toMatchObject({ requestId: made.headers.get("x-request-id"), requestIdIsKey: false });
});

test("a malformed X-Request-ID is rejected, not replaced", async () => {
  const response = await get({ key, tenantId: "tenant-a", headers: { "x-request-id": "no spaces" } });
  expect([response.status, response.body.code]).toEqual([400, "BAD_REQUEST"]);
});

test("forged identity headers do not reach the cell", async () => {
  const headers = { "x-cell-assertion": "forged", "x-forwarded-for": "9.9.9.9", cookie: "a=b", "x-other": "1", accept: "application/json" };
  await gateway.call("/api/v1/crm/forged", { key, tenantId: "tenant-a", headers });
  const seen = cell.requests.at(-1)?.headers;
  expect(seen?.["x-forwarded-for"]).toBe("127.0.0.1");
  expect(seen).not.toHaveProperty("cookie");
  expect(seen).not.toHaveProperty("x-other");
  expect(seen).not.toHaveProperty("authorization");
  expect(seen?.["x-cell-assertion"]).not.toBe("forged");
  expect(seen?.accept).toBe("application/json");
});

test.each(["Authorization: Bearer x", "X-Tenant-Id: tenant-a", "X-Request-ID: r1", "X-User-Id: user-001", "Host: a"])(
  "a second header line %s is rejected",
  async (line) => {
    const head = `GET /api/v1/crm/customers HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n`;
    const before = cell.requests.length;
    const response = await sendRaw(gateway.url, `${head}X-Request-ID: r1\r\nX-User-Id: user-001\r\n${line}\r\nConnection: close\r\n\r\n`);
    expect(response).toMatch(/^HTTP\/1\.1 400 /);
    expect(response).toContain('"code":"BAD_REQUEST"');
    expect(cell.requests.length).toBe(before);
  },
);

test("X-User-Id must be the key's user, unless the key may act for others", async () => {
  const own = await get({ key, tenantId: "tenant-a", headers: { "x-user-id": "user-001" } });
  expect(own.status).toBe(200);
  const other = await get({ key, tenantId: "tenant-a", headers: { "x-user-id": "user-002" } });
  expect([other.status, other.body.code]).toEqual([403, "FORBIDDEN"]);
  const service = await issueKey(gateway, { tenantId: "tenant-a", userId: "svc", role: "integrator", actAs: true });
  const acting = await get({ key: service.key, tenantId: "tenant-a", headers: { "x-user-id": "user-002" } });
  expect(acting.body.caller.principal).toMatchObject({
    userId: "user-002",
    actorType: "service",
    tenantId: "tenant-a",
    tokenUserId: "svc",
  });
  expect(own.body.caller.principal).not.toHaveProperty("tokenUserId");
  const bad = await get({ key: service.key, tenantId: "tenant-a", headers: { "x-user-id": "a b" } });
  expect(bad.status).toBe(400);
});

test("roles and explicit permissions decide the assertion's permissions", async () => {
  const sales = await issueKey(gateway, { tenantId: "tenant-a", userId: "sales-1", role: "sales" });
  expect((await get({ key: sales.key, tenantId: "tenant-a" })).body.caller.principal).toMatchObject({ scope: "own", actorType: "user" });
  const narrow = await issueKey(gateway, { tenantId: "tenant-a", userId: "u", role: "manager", permissions: ["crm:read"] });
  expect((await get({ key: narrow.key, tenantId: "tenant-a" })).body.caller.principal.permissions).toEqual(["crm:read"]);
});

test("a Connection header cannot remove the tenant from a request", async () => {
  const head = `GET /api/v1/crm/named HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\nAccept-Language: zh\r\n`;
  const response = await sendRaw(gateway.url, `${head}Connection: close, x-tenant-id, authorization, accept-language\r\n\r\n`);
  expect(response).toMatch(/^HTTP\/1\.1 200 /);
  expect(cell.requests.at(-1)?.headers["x-tenant-id"]).toBe("tenant-a");
  expect(cell.requests.at(-1)?.headers).not.toHaveProperty("accept-language");
});

test("an expired API key is rejected", async () => {
  const brief = await issueKey(gateway, { tenantId: "tenant-a", expiresAt: new Date(Date.now() + 700).toISOString() });
  expect((await get({ key: brief.key, tenantId: "tenant-a" })).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 800));
  expect((await get({ key: brief.key, tenantId: "tenant-a" })).status).toBe(401);
});
