import { expect, test } from "vitest";
import { parseCells, readConfig } from "./config.ts";

const good = { DATABASE_URL: "postgres://x", ASSERTION_KEYS: `a:${"A".repeat(43)}`, CELLS: "crm=http://127.0.0.1:8001" };

test("the minimal gateway configuration gets the documented defaults", () => {
  expect(readConfig(good)).toMatchObject({ host: "127.0.0.1", port: 8080, operatorKey: undefined, logLevel: "info" });
  expect(readConfig(good).timeouts).toMatchObject({ connectMs: 250, headersMs: 5_000, slowHeadersMs: 120_000, bodyIdleMs: 60_000 });
  expect(readConfig(good)).toMatchObject({
    rateLimits: { token: 500, tenant: 2_000 },
    bulkheads: { requests: 512, streams: 256, tenantPercent: 25 },
  });
});

test.each([
  ["DATABASE_URL", ""],
  ["ASSERTION_KEYS", ""],
  ["ASSERTION_KEYS", "a:short"],
  ["CELLS", ""],
  ["CELLS", "crm"],
  ["CELLS", "crm=ftp://x"],
  ["CELLS", "crm=http://x/path"],
  ["CELLS", "CRM=http://x"],
  ["PORT", "70000"],
  ["PORT", "http"],
  ["OPERATOR_KEY", "short"],
  ["KEY_ENVIRONMENT", "Live!"],
  ["LOG_LEVEL", "loud"],
  ["HEADERS_TIMEOUT_MS", "-1"],
  ["RATE_LIMIT_TOKEN", "many"],
  ["RATE_LIMIT_TENANT", "-1"],
  ["UPSTREAM_REQUESTS", "0"],
  ["UPSTREAM_STREAMS", "0"],
  ["UPSTREAM_TENANT_PERCENT", "101"],
  ["TRUSTED_PROXIES", "proxy.example"],
  ["FAILED_ATTEMPTS_BURST", "0"],
  ["CORS_ORIGINS", "*"],
  ["CORS_ORIGINS", "null"],
  ["CORS_ORIGINS", "app.example"],
  ["CORS_ORIGINS", "https://*.example"],
  ["CORS_ORIGINS", "https://app.example/path"],
  ["CORS_ORIGINS", "https://user@app.example"],
  ["CORS_ORIGINS", "file:///app"],
  ["METRICS_PORT", "70000"],
  ["METRICS_PORT", "8080"],
  ["METRICS_TOKEN", "short"],
  ["METRICS_TOKEN", "with a space in it, and long"],
])("%s=%j refuses to start, naming the variable", (name, value) => {
  expect(() => readConfig({ ...good, [name]: value })).toThrow(name);
});

test("every missing or invalid variable is reported at once", () => {
  const env = { OPERATOR_KEY: "short", PORT: "9090", METRICS_PORT: "9090", OIDC_ISSUER: "https://id.example" };
  expect(() => readConfig(env)).toThrow(
    [
      "DATABASE_URL is not set",
      "ASSERTION_KEYS is not set",
      "OPERATOR_KEY must be 24 characters or more, without spaces",
      "CELLS is not set",
      "METRICS_PORT must differ from PORT; to serve the metrics on PORT, set only METRICS_TOKEN",
      "OIDC_AUDIENCE is not set",
    ].join("; "),
  );
});

test("the former names of the bulkhead settings are read, each with a warning", () => {
  const warnings: string[] = [];
  const former = { LANE_REQUESTS: "5", LANE_STREAMS: "4", LANE_TENANT_PERCENT: "50", LANE_TENANT_TURNS: "2" };
  const { bulkheads } = readConfig({ ...good, ...former }, (message) => warnings.push(message));
  expect(bulkheads).toEqual({ requests: 5, streams: 4, tenantPercent: 50, tenantConcurrency: 2 });
  expect(warnings.map((warning) => warning.split(" ")[0])).toEqual(Object.keys(former));
});

test("origins are compared as browsers write them, and there are none by default", () => {
  expect(readConfig(good).corsOrigins.size).toBe(0);
  const { corsOrigins } = readConfig({ ...good, CORS_ORIGINS: "https://App.example/, http://localhost:5173,https://b.example:443" });
  expect([...corsOrigins]).toEqual(["https://app.example", "http://localhost:5173", "https://b.example"]);
});

test("metrics are on a separate port, or, with only a token, on the main one", () => {
  const token = "m".repeat(24);
  expect(readConfig(good).metrics).toEqual({ port: 9090, token: undefined });
  expect(readConfig({ ...good, METRICS_PORT: "", METRICS_TOKEN: "" }).metrics).toEqual({ port: 9090, token: undefined });
  expect(readConfig({ ...good, METRICS_TOKEN: token }).metrics).toEqual({ port: undefined, token });
  expect(readConfig({ ...good, METRICS_PORT: "9100", METRICS_TOKEN: token }).metrics).toEqual({ port: 9100, token });
});

const oidc = { ...good, OIDC_ISSUER: "https://id.example/realms/crm", OIDC_AUDIENCE: "crm" };

test("the minimal configuration of an identity provider gets the documented defaults", () => {
  expect(readConfig(good).oidc).toBeUndefined();
  expect(readConfig(oidc).oidc).toMatchObject({
    claims: { tenant: "tenant", roles: "roles", permissions: undefined },
    tokenTypes: ["at+jwt"],
    timeoutMs: 3_000,
    keysRefreshMs: 600_000,
    keysCooldownMs: 30_000,
    allowLoopback: false,
  });
});

test.each([
  ["OIDC_ISSUER", "http://id.example"],
  ["OIDC_ISSUER", "http://127.0.0.1:8080"],
  ["OIDC_ISSUER", "https://user:word@id.example"],
  ["OIDC_ISSUER", "https://id.example/?tenant=1"],
  ["OIDC_ISSUER", "id.example"],
  ["OIDC_AUDIENCE", ""],
  ["OIDC_TOKEN_TYPES", "at+jwt,id_token"],
  ["OIDC_ROLES", "crm-admin=root"],
  ["OIDC_ROLES", "admin"],
  ["OIDC_ALLOW_LOOPBACK", "yes"],
  ["OIDC_TIMEOUT_MS", "0"],
])("%s=%j refuses to start, naming the variable", (name, value) => {
  expect(() => readConfig({ ...oidc, [name]: value })).toThrow(name);
});

test("plain http is only for an identity provider on this machine, and only if allowed", () => {
  const allowed = { ...oidc, OIDC_ALLOW_LOOPBACK: "1" };
  expect(readConfig({ ...allowed, OIDC_ISSUER: "http://127.0.0.1:8080" }).oidc?.issuer).toBe("http://127.0.0.1:8080");
  expect(() => readConfig({ ...allowed, OIDC_ISSUER: "http://127.0.0.1.evil.example" })).toThrow("OIDC_ISSUER");
});

const prefixes = { ...good, CELLS: "crm=http://a:1,messaging=http://b:2" };

test("further path prefixes belong to their configured cells", () => {
  expect(readConfig(good).cellPrefixes).toEqual([]);
  expect(readConfig({ ...prefixes, CELL_PREFIXES: "messaging=/api/crm, messaging=/ws/chat,crm=/api/v1/customers" }).cellPrefixes).toEqual([
    { cell: "messaging", path: "/api/crm" },
    { cell: "messaging", path: "/ws/chat" },
    { cell: "crm", path: "/api/v1/customers" },
  ]);
});

test.each([
  "messaging",
  "messaging=ws",
  "messaging=/",
  "messaging=/ws/",
  "messaging=/w s",
  "messaging=/ws/%63",
  "unknown=/ws",
  "messaging=/api/admin",
  "messaging=/api/admin/chat",
  "messaging=/api",
  "messaging=/api/v1",
  "messaging=/internal/x",
  "messaging=/docs",
  "messaging=/health",
  "messaging=/api/v1/crm",
  "messaging=/ws,crm=/ws",
])("CELL_PREFIXES=%s refuses to start, naming the variable", (text) => {
  expect(() => readConfig({ ...prefixes, CELL_PREFIXES: text })).toThrow("CELL_PREFIXES");
});

test("a cell named twice has two partitions", () => {
  expect(parseCells("crm=http://a:1, messaging=http://b:2,crm=http://c:3/")).toEqual([
    { name: "crm", urls: ["http://a:1", "http://c:3"] },
    { name: "messaging", urls: ["http://b:2"] },
  ]);
});
