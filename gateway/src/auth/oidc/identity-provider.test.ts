import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../../testing/gateway.ts";
import { audience, createKey, startIdentityProvider, type TestIdentityProvider } from "../../testing/identity-provider.ts";

let cell: TestCell;
let databaseUrl: string;
let provider: TestIdentityProvider;
const gateways: TestGateway[] = [];

beforeAll(async () => {
  cell = await startTestCell();
  databaseUrl = await createDatabase();
  const gateway = await startTestGateway(databaseUrl, `crm=${cell.url}`);
  await createTenant(gateway, "tenant-a");
  await gateway.stop();
});

beforeEach(async () => {
  provider = await startIdentityProvider();
});

afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await provider.close();
});

afterAll(() => cell.close());

async function startGateway(env: Record<string, string> = {}): Promise<TestGateway> {
  const gateway = await startTestGateway(databaseUrl, `crm=${cell.url}`, {
    OIDC_ISSUER: provider.issuer,
    OIDC_AUDIENCE: audience,
    OIDC_ALLOW_LOOPBACK: "1",
    OIDC_TIMEOUT_MS: "300",
    ...env,
  });
  gateways.push(gateway);
  return gateway;
}

/** A new token each time, so that it is never cached. */
async function call(gateway: TestGateway, options: Parameters<TestIdentityProvider["token"]>[0] = {}) {
  const token = await provider.token({ ...options, claims: { jti: crypto.randomUUID(), ...options.claims } });
  return gateway.call<{ code: string; message: string }>("/api/v1/crm/customers", { key: token, tenantId: "tenant-a" });
}

const statusOf = async (...args: Parameters<typeof call>) => (await call(...args)).status;

async function identityProviderOf(gateway: TestGateway) {
  const { body } = await gateway.call<{ checks: { identityProvider: string } }>("/ready", { key: "" });
  return body.checks.identityProvider;
}

test("a new issuer key works with its first token, and a withdrawn one stops with the next refresh", async () => {
  const gateway = await startGateway({ OIDC_KEYS_COOLDOWN_MS: "0" });
  const [old] = provider.keys;
  expect(await statusOf(gateway)).toBe(200);
  await provider.addKey("ES256");
  expect(await statusOf(gateway)).toBe(200);
  expect(await statusOf(gateway, { key: old })).toBe(200);
  provider.keys.shift();
  const third = await provider.addKey("EdDSA");
  expect(await statusOf(gateway, { key: third })).toBe(200);
  expect(await statusOf(gateway, { key: old })).toBe(401);
});

test("issuer keys are refreshed in the background: a withdrawn one is rejected even if no new one appears", async () => {
  const gateway = await startGateway({ OIDC_KEYS_REFRESH_MS: "50" });
  const [old] = provider.keys;
  expect(await statusOf(gateway)).toBe(200);
  await provider.addKey();
  provider.keys.shift();
  await expect.poll(() => statusOf(gateway, { key: old })).toBe(401);
});

test("invented key ids do not each cause a request to the issuer", async () => {
  const gateway = await startGateway();
  expect(await statusOf(gateway)).toBe(200);
  const before = provider.keyRequests;
  const responses = await Promise.all(Array.from({ length: 30 }, (_, index) => call(gateway, { header: { kid: `made-up-${index}` } })));
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([401]));
  expect(provider.keyRequests - before).toBeLessThanOrEqual(1);
});

const publishedKeys = () => provider.keys.map(({ jwk }) => jwk);

test.each<[string, () => TestIdentityProvider["mode"]]>([
  ["is away", () => "away"],
  ["is silent", () => "silent"],
  ["shows no keys", () => ({ keys: { keys: [] } })],
  ["shows what are no keys", () => ({ keys: { keys: "none" } })],
  ["shows no JSON object", () => ({ keys: [1] })],
  ["calls itself another", () => ({ discovery: { issuer: "https://elsewhere.test", jwks_uri: `${provider.issuer}/keys` } })],
  ["names no address of keys", () => ({ discovery: { issuer: provider.issuer } })],
  ["answers without end", () => ({ keys: { keys: publishedKeys(), pad: "x".repeat(300_000) } })],
])("while the issuer %s, its last good keys stay in use", async (_name, mode) => {
  const gateway = await startGateway({ OIDC_KEYS_REFRESH_MS: "50", OIDC_KEYS_COOLDOWN_MS: "50" });
  expect(await statusOf(gateway)).toBe(200);
  provider.mode = mode();
  await expect.poll(() => identityProviderOf(gateway)).toBe("kept");
  expect(await statusOf(gateway)).toBe(200);
  expect(await statusOf(gateway, { header: { kid: "made-up" } })).toBe(401);
  expect((await gateway.call("/ready", { key: "" })).status).toBe(200);
  provider.mode = "well";
  await provider.addKey();
  await expect.poll(() => statusOf(gateway)).toBe(200);
  await expect.poll(() => identityProviderOf(gateway)).toBe("fresh");
});

test.each(["away", "silent"] as const)("an issuer that is %s from the start makes only tokens 503, until it is back", async (mode) => {
  provider.mode = mode;
  const gateway = await startGateway();
  expect(await identityProviderOf(gateway)).toBe("missing");
  const refused = await call(gateway);
  expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
  expect((await gateway.call("/api/admin/tenants")).status).toBe(200);
  provider.mode = "well";
  await expect.poll(() => statusOf(gateway), { timeout: 5_000 }).toBe(200);
});

test.each([
  ["the setting", "/", ""],
  ["the issuer's documents and tokens", "", "/"],
])("a trailing slash only in %s does not make another issuer", async (_where, configured, recorded) => {
  const issuer = provider.issuer + recorded;
  provider.mode = { discovery: { issuer, jwks_uri: `${provider.issuer}/keys` } };
  const gateway = await startGateway({ OIDC_ISSUER: provider.issuer + configured });
  const response = await gateway.call("/api/v1/crm/customers", {
    key: await provider.token({ claims: { iss: issuer } }),
    tenantId: "tenant-a",
  });
  expect(response.status).toBe(200);
  expect(await statusOf(gateway, { claims: { iss: `${provider.issuer}//` } })).toBe(401);
});

test("the issuer's redirects, and a jwks_uri without https, are not followed", async () => {
  const { port } = new URL(provider.issuer);
  for (const url of [
    `${provider.issuer}/redirect`,
    `http://0.0.0.0:${port}/keys`,
    "file:///etc/passwd",
    `http://user:word@127.0.0.1:${port}/keys`,
  ]) {
    provider.mode = { discovery: { issuer: provider.issuer, jwks_uri: url } };
    const gateway = await startGateway();
    expect(await statusOf(gateway)).toBe(503);
  }
  expect(provider.keyRequests).toBe(0);
});

test("a cached access expires with its token and soon after the issuer's keys change, and keeps working while the issuer is not reachable", async () => {
  const gateway = await startGateway();
  expect(await statusOf(gateway)).toBe(200);
  const expiresAt = Math.floor(Date.now() / 1000) - 28;
  const token = await provider.token({ claims: { exp: expiresAt } });
  const get = () => gateway.call("/api/v1/crm/customers", { key: token, tenantId: "tenant-a" });
  provider.mode = "away";
  expect((await get()).status).toBe(200);
  await sleep((expiresAt + 30) * 1000 - Date.now() + 50);
  expect((await get()).status).toBe(401);
});

test("one invalid key of the issuer does not affect the others", async () => {
  const bad = await createKey("bad", "RS256");
  provider.keys.unshift({ ...bad, jwk: { kty: "RSA", kid: "bad", alg: "RS256", n: "!", e: "AQAB" } });
  const gateway = await startGateway();
  expect(await statusOf(gateway)).toBe(200);
  expect(await statusOf(gateway, { key: bad })).toBe(401);
});
