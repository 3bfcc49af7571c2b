import { sendRaw } from "@cell/http/testing/raw";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reply, startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../testing/gateway.ts";

const origin = "https://app.example";
let cell: TestCell;
let database: string;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  cell.on("/customers", (_incoming, outgoing) => {
    outgoing.setHeader("etag", '"3"');
    reply(outgoing, 200, { data: [] });
  });
  database = await createDatabase();
  gateway = await startTestGateway(database, `crm=${cell.url}`, { CORS_ORIGINS: `${origin}, https://other.example` });
  ({ key } = await createTenant(gateway, "tenant-a"));
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const path = "/api/v1/crm/customers";
const ask = (headers: Record<string, string>, given = key, asked = path, method = "GET") =>
  gateway.call(asked, { key: given, tenantId: "tenant-a", headers, method });

/** The response's CORS headers, with their values. */
function corsOf(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => name === "vary" || name.startsWith("access-control-")));
}

const simple = {
  vary: "Origin",
  "access-control-allow-origin": origin,
  "access-control-expose-headers": expect.stringMatching(
    /^(?=.*\bETag\b)(?=.*\bRateLimit-Policy\b)(?=.*\bRetry-After\b)(?=.*\bX-Request-ID\b)/,
  ),
};

test("a preflight of an allowed origin succeeds without a token, for every path, and never allows credentials", async () => {
  const before = cell.requests.length;
  const asked = { origin, "access-control-request-method": "PATCH", "access-control-request-headers": "authorization,if-match" };
  for (const wanted of [path, "/api/admin/keys", "/health", "/nothing"]) {
    const response = await ask(asked, "", wanted, "OPTIONS");
    expect([wanted, response.status, response.text]).toEqual([wanted, 204, ""]);
    expect(corsOf(response.headers)).toEqual({
      ...simple,
      "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
      "access-control-allow-headers": expect.stringMatching(
        /^(?=.*\bAuthorization\b)(?=.*\bIf-Match\b)(?=.*\bX-Tenant-Id\b)(?=.*\bIdempotency-Key\b)/,
      ),
      "access-control-max-age": "7200",
    });
  }
  expect(cell.requests.length).toBe(before);
});

test("a page of an allowed origin can read its responses, errors too, with the headers that it needs", async () => {
  const found = await ask({ origin });
  expect([found.status, found.headers.get("etag"), corsOf(found.headers)]).toEqual([200, '"3"', simple]);
  const failures = [
    await ask({ origin }, ""),
    await ask({ origin }, key, "/api/v1/none/customers"),
    await ask({ origin }, key, "/api/v1/crm/internal/tenants"),
    await ask({ origin }, key, "/nothing"),
    await ask({ origin }, key, "/api/admin/tenants"),
    await ask({ origin, "x-request-id": "a b" }),
    await ask({ origin }, key, `${path}%2F..`),
    await ask({ origin }, key, path, "OPTIONS"),
  ];
  expect(failures.slice(0, -1).map(({ status }) => status)).toEqual([401, 404, 404, 404, 403, 400, 400]);
  for (const { headers } of failures) expect(corsOf(headers)).toEqual(simple);
  for (const asked of ["/health", "/", "/openapi.json", "/api/v1/crm/health", "/api/admin/keys"])
    expect(corsOf((await ask({ origin }, key, asked)).headers), asked).toEqual(simple);
});

test("a page of another origin can read nothing, and other callers get no CORS headers", async () => {
  for (const other of ["https://evil.example", "null", "http://app.example", `${origin}:8443`, `${origin}.evil.example`]) {
    expect(corsOf((await ask({ origin: other })).headers)).toEqual({ vary: "Origin" });
    const preflight = await ask({ origin: other, "access-control-request-method": "PATCH" }, "", path, "OPTIONS");
    expect([preflight.status, corsOf(preflight.headers)]).toEqual([401, { vary: "Origin" }]);
  }
  expect(corsOf((await ask({})).headers)).toEqual({});
  const twice = await sendRaw(
    gateway.url,
    `GET /health HTTP/1.1\r\nHost: a\r\nOrigin: ${origin}\r\nOrigin: ${origin}\r\nConnection: close\r\n\r\n`,
  );
  expect(twice).not.toMatch(/access-control/i);
});

test("without the setting nothing is said about origins, and a preflight is a request like any other", async () => {
  const closed = await startTestGateway(database, `crm=${cell.url}`);
  try {
    const call = (method: string, given: string) =>
      closed.call(path, { key: given, tenantId: "tenant-a", method, headers: { origin, "access-control-request-method": "PATCH" } });
    expect(corsOf((await call("GET", key)).headers)).toEqual({});
    const preflight = await call("OPTIONS", "");
    expect([preflight.status, corsOf(preflight.headers)]).toEqual([401, {}]);
  } finally {
    await closed.stop();
  }
});
