import { version } from "@cell/http";
import { expect, test } from "vitest";
import type { TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, metricsToken, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let cell: TestCell;
let gateway: TestGateway;

gatewayPerFile((given) => {
  ({ gateway, cell } = given);
});

test("the documentation page uses nothing from other hosts, and its policy forbids it", async () => {
  const { status, headers, text } = await gateway.call("/docs", { key: "" });
  expect(status).toBe(200);
  expect(text).not.toMatch(/\b(?:https?:)?\/\/[a-z]/i);
  const sources = [...text.matchAll(/(?:src|href|"url"): ?=?"([^"]+)"|src="([^"]+)"/g)].map(([, url, src]) => url ?? src ?? "");
  expect(sources).toEqual(expect.arrayContaining(["/docs/scalar.js", "/openapi/crm.json", "/openapi.json"]));
  for (const url of sources) expect((await gateway.call(url, { key: "" })).status).toBe(200);
  const policy = headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/https?:|\*|unsafe-eval/);
  const nonce = /'nonce-([^']+)'/.exec(policy)?.[1];
  expect(text.match(/<script\b[^>]*>/g)?.every((tag) => tag.includes(`nonce="${nonce}"`))).toBe(true);
});

test("the documentation page's script is served from here, compressed and cached", async () => {
  const { headers } = await gateway.call("/docs/scalar.js", { key: "" });
  expect(headers.get("content-encoding")).toBe("gzip");
  expect(headers.get("cache-control")).toContain("max-age");
  const etag = headers.get("etag") ?? "";
  expect((await gateway.call("/docs/scalar.js", { key: "", headers: { "if-none-match": etag } })).status).toBe(304);
  const plain = await gateway.call("/docs/scalar.js", { key: "", headers: { "accept-encoding": "identity" } });
  expect(plain.headers.get("content-encoding")).toBeNull();
  expect(plain.text).toContain("Scalar");
});

test("each OpenAPI document names the address of its request as its server, also for callers without a token", async () => {
  for (const path of ["/openapi/crm.json", "/api/v1/crm/openapi.json"]) {
    const { body } = await gateway.call(path, { key: "" });
    expect(body).toMatchObject({ openapi: "3.1.0", servers: [{ url: `${gateway.url}/api/v1/crm` }] });
  }
  expect((await gateway.call("/openapi.json", { key: "" })).body).toMatchObject({ servers: [{ url: gateway.url }] });
  const page = await gateway.call("/api/v1/crm/docs", { key: "" });
  expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=UTF-8"]);
  expect((await gateway.call("/api/v1/none/docs", { key: "" })).status).toBe(404);
  expect((await gateway.call("/api/v1/none/openapi.json", { key: "" })).status).toBe(404);
  expect((await gateway.call("/openapi/none.json", { key: "" })).status).toBe(404);
  expect((await gateway.call("/openapi/crm", { key: "" })).status).toBe(404);
});

test("the document's server has the scheme from a trusted proxy, and from no other client", async () => {
  const proxied = await startTestGateway(await createDatabase(), `crm=${cell.url}`, { TRUSTED_PROXIES: "127.0.0.1" });
  const headers = { "x-forwarded-proto": "https" };
  expect((await proxied.call("/openapi.json", { key: "", headers })).body).toMatchObject({
    servers: [{ url: proxied.url.replace("http:", "https:") }],
  });
  expect((await gateway.call("/openapi.json", { key: "", headers })).body).toMatchObject({ servers: [{ url: gateway.url }] });
  await proxied.stop();
});

test("the gateway's document describes every route of its own", async () => {
  const { body } = await gateway.call<{ paths: Record<string, object> }>("/openapi.json", { key: "" });
  expect(Object.keys(body.paths).sort()).toEqual([
    "/",
    "/api/admin/cells",
    "/api/admin/cells/{cell}/docs",
    "/api/admin/keys",
    "/api/admin/keys/{keyId}",
    "/api/admin/keys/{keyId}/rotate",
    "/api/admin/moves",
    "/api/admin/moves/{moveId}",
    "/api/admin/tenants",
    "/api/admin/tenants/{tenantId}",
    "/api/admin/tenants/{tenantId}/backup",
    "/api/admin/tenants/{tenantId}/copies",
    "/api/admin/tenants/{tenantId}/move",
    "/api/admin/tenants/{tenantId}/restore",
    "/api/admin/tenants/{tenantId}/restore/finish",
    "/api/admin/tenants/{tenantId}/restore/rows",
    "/docs",
    "/health",
    "/metrics",
    "/openapi.json",
    "/openapi/{cell}.json",
    "/ready",
  ]);
});

test("a cell's page below /api/admin needs a valid key, of any kind", async () => {
  const { key } = await createTenant(gateway, "docs", { role: "auditor" });
  expect((await gateway.call("/api/admin/cells/crm/docs", { key: "" })).status).toBe(401);
  const page = await gateway.call("/api/admin/cells/crm/docs", { key });
  expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=UTF-8"]);
  expect(page.text).toContain("/openapi/crm.json");
  expect((await gateway.call("/api/admin/cells/none/docs", { key })).status).toBe(404);
});

test("health, readiness, metrics and the index reveal what they should and no more", async () => {
  const { key } = await createTenant(gateway, "quiet");
  await gateway.call("/api/v1/crm/customers/secret-id?keyword=secret", { key, tenantId: "quiet" });
  expect((await gateway.call("/health", { key: "" })).body).toEqual({ status: "ok", version });
  expect((await gateway.call("/ready", { key: "" })).body).toEqual({
    status: "ready",
    checks: { database: "ok", draining: false, identityProvider: "none" },
  });
  expect((await gateway.call("/", { key: "" })).body).toMatchObject({ docs: "/docs", openapi: "/openapi.json" });
  const metrics = await gateway.call("/metrics", { key: metricsToken });
  expect(metrics.headers.get("content-type")).toMatch(/^text\/plain/);
  expect(metrics.text).toContain('route="/api/v1/crm/*"');
  expect(metrics.text).not.toMatch(/secret|quiet/);
  for (const path of ["/health", "/docs", "/nothing"]) {
    const { headers } = await gateway.call(path, { key: "" });
    expect([headers.get("x-content-type-options"), headers.get("cache-control")]).toEqual(["nosniff", "no-store"]);
  }
});
