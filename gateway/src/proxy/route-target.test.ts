import { checkTarget } from "@cell/http";
import { sendRaw } from "@cell/http/testing/raw";
import { expect, test } from "vitest";
import type { TestCell } from "../testing/cell.ts";
import { createTenant, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";
import { PrefixTable } from "./route-target.ts";

let cell: TestCell;
let gateway: TestGateway;
let key: string;

gatewayPerFile(async (given) => {
  ({ gateway, cell } = given);
  ({ key } = await createTenant(gateway, "tenant-a"));
});

const identity = () => `Host: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n`;

test.each([
  "/api/v1/crm/../internal/tenants/x",
  "/api/v1/crm/./customers",
  "/api/v1/crm/customers/..",
  "/api/v1/crm/%2e%2e/customers",
  "/api/v1/crm/.%2E/customers",
  "/api/v1/crm//customers",
  "//api/v1/crm/customers",
  "/api/v1/crm/a%2fb",
  "/api/v1/crm/a%2Fb",
  "/api/v1/crm/a%5cb",
  "/api/v1/crm/a\\b",
  "/api/v1/crm/a%00b",
  "/api/v1/crm/a%0d%0ab",
  "/api/v1/crm/a%",
  "/api/v1/crm/a%zz",
  "/api/v1/crm/a%ff",
  "/api/v1/crm/a#b",
  "/api/v1/crm/a?b#c",
  "/api/v1/crm/a?\x80",
  "http://other/api/v1/crm/customers",
  "*",
])("the target %s is refused and never forwarded", async (target) => {
  const before = cell.requests.length;
  const response = await sendRaw(gateway.url, `GET ${target} HTTP/1.1\r\n${identity()}Connection: close\r\n\r\n`);
  expect(response).toMatch(/^HTTP\/1\.1 400 /);
  expect(response).toContain('"code":"BAD_REQUEST"');
  expect(cell.requests.length).toBe(before);
});

test.each(["/internal", "/internal/tenants/x", "/INTERNAL/x", "/%69nternal/tenants/x", "/intern%61l"])(
  "a cell's %s is not reachable",
  async (path) => {
    const before = cell.requests.length;
    for (const method of ["GET", "PUT", "DELETE"]) {
      const response = await gateway.call(`/api/v1/crm${path}`, { key, tenantId: "tenant-a", method });
      expect([response.status, response.body.code]).toEqual([404, "NOT_FOUND"]);
    }
    expect(cell.requests.length).toBe(before);
  },
);

test.each([
  ["/api/v1/crm", { cell: "crm", path: "/", query: "" }],
  ["/api/v1/crm/", { cell: "crm", path: "/", query: "" }],
  ["/api/v1/crm?a=/b", { cell: "crm", path: "/", query: "?a=/b" }],
  ["/api/v1/crm/customers/", { cell: "crm", path: "/customers/", query: "" }],
  ["/api/v1/crm/a.b/c%20d?x=..//%2f", { cell: "crm", path: "/a.b/c%20d", query: "?x=..//%2f" }],
  ["/api/v2/crm/customers", undefined],
])("%s is read as %j", (url, target) => {
  expect(() => checkTarget(url)).not.toThrow();
  expect(new PrefixTable(["crm"]).find(url)).toEqual(target && expect.objectContaining(target));
});

test.each([
  ["/api/crm/contacts?q=1", { cell: "messaging", pattern: "/api/crm/*", path: "/api/crm/contacts", query: "?q=1" }],
  ["/api/crm", { cell: "messaging", path: "/api/crm" }],
  ["/api/v1/customers/42", { cell: "messaging", path: "/api/v1/customers/42" }],
  ["/api/v1/customers/special/1", { cell: "crm", path: "/api/v1/customers/special/1" }],
  ["/api/v1/messaging/customers/", { cell: "messaging", path: "/customers/" }],
  ["/api/v1/crm/customers", { cell: "crm", path: "/customers" }],
  ["/ws/chat", { cell: "messaging", path: "/ws/chat" }],
  ["/ws/chat/a%20b", { cell: "messaging", path: "/ws/chat/a%20b", decodedPath: "/ws/chat/a b" }],
  ["/api/crmx/contacts", undefined],
  ["/ws/%63hat", undefined],
  ["/ws", undefined],
  ["/ws/chatter", undefined],
  ["/api/admin/tenants", undefined],
  ["/?/ws/chat", undefined],
  ["/", undefined],
])("of prefixes that are kept whole, %s is read as %j: by whole segments, and the longest of several", (url, target) => {
  const prefixes = [
    { cell: "messaging", path: "/api/crm" },
    { cell: "messaging", path: "/api/v1/customers" },
    { cell: "crm", path: "/api/v1/customers/special" },
    { cell: "messaging", path: "/ws/chat" },
  ];
  expect(new PrefixTable(["crm", "messaging"], prefixes).find(url)).toEqual(target && expect.objectContaining(target));
});

test.each([
  [
    "both lengths",
    "POST /api/v1/crm/x HTTP/1.1\r\n@Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    400,
  ],
  ["two lengths", "POST /api/v1/crm/x HTTP/1.1\r\n@Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400],
  ["a length with a sign", "POST /api/v1/crm/x HTTP/1.1\r\n@Content-Length: +5\r\n\r\nhello", 400],
  ["another transfer coding", "POST /api/v1/crm/x HTTP/1.1\r\n@Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400],
  ["chunked not last", "POST /api/v1/crm/x HTTP/1.1\r\n@Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400],
  ["a blank before the colon", "POST /api/v1/crm/x HTTP/1.1\r\n@Content-Length : 5\r\n\r\nhello", 400],
  ["a folded line", "GET /api/v1/crm/x HTTP/1.1\r\n@X-Folded: a\r\n b\r\n\r\n", 400],
  ["a bare line feed", "GET /api/v1/crm/x HTTP/1.1\nHost: a\n\n", 400],
  ["NUL in a header", "GET /api/v1/crm/x HTTP/1.1\r\n@X-Nul: a\0b\r\n\r\n", 400],
  ["a bad chunk size", "POST /api/v1/crm/x HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
  ["no host", "GET /api/v1/crm/x HTTP/1.1\r\nAccept: */*\r\n\r\n", 400],
  ["no HTTP at all", "hello\r\n\r\n", 400],
  ["headers over 16 KB", `GET /api/v1/crm/x HTTP/1.1\r\n@X-Long: ${"a".repeat(17_000)}\r\n\r\n`, 431],
  ["TRACE", "TRACE /api/v1/crm/x HTTP/1.1\r\n@\r\n", 405],
  ["CONNECT", "CONNECT other:443 HTTP/1.1\r\n@\r\n", 405],
  ["a method of its own", "PROPFIND /api/v1/crm/x HTTP/1.1\r\n@\r\n", 405],
])("%s is refused in the error form", async (_what, text, status) => {
  const before = cell.requests.length;
  const response = await sendRaw(gateway.url, text.replace("@", identity()));
  expect(response).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  const body = JSON.parse(response.slice(response.indexOf("\r\n\r\n") + 4).split("\r\nHTTP/1.1")[0] ?? "");
  expect(body).toMatchObject({ code: expect.any(String), message: expect.any(String), requestId: expect.any(String) });
  expect(response.toLowerCase()).toContain(`x-request-id: ${body.requestId}`);
  expect(cell.requests.slice(before).filter(({ method }) => method === "GET")).toEqual([]);
});

test("unknown paths are 404, known ones with another method 405 with Allow", async () => {
  for (const path of ["/nothing", "/api/v2/x", "/api/v1/unknown/x", "/api/v1/", "/api/v1/constructor/x"]) {
    expect((await gateway.call(path, { key, tenantId: "tenant-a" })).status).toBe(404);
  }
  for (const [path, method, allow] of [
    ["/health", "POST", "GET"],
    ["/api/admin/tenants", "PUT", "GET, POST"],
    ["/api/admin/tenants/x", "POST", "GET, PATCH, DELETE"],
    ["/openapi/crm.json", "DELETE", "GET"],
  ] as const) {
    const response = await gateway.call(path, { method });
    expect([response.status, response.body.code, response.headers.get("allow")]).toEqual([405, "METHOD_NOT_ALLOWED", allow]);
  }
  expect((await gateway.call("/health", { method: "HEAD" })).status).toBe(200);
});
