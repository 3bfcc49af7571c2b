import { createHmac } from "node:crypto";
import { exportSPKI } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../../testing/gateway.ts";
import {
  audience,
  createKey,
  forge,
  startIdentityProvider,
  type TestIdentityProvider,
  type TokenOptions,
} from "../../testing/identity-provider.ts";

let cell: TestCell;
let provider: TestIdentityProvider;
let gateway: TestGateway;
let databaseUrl: string;

interface Echo {
  code: string;
  message: string;
  caller: { principal: Record<string, unknown> };
}

beforeAll(async () => {
  cell = await startTestCell();
  provider = await startIdentityProvider();
  databaseUrl = await createDatabase();
  gateway = await startGateway();
  await createTenant(gateway, "tenant-a");
  await createTenant(gateway, "tenant-b");
});

afterAll(async () => {
  await gateway.stop();
  await provider.close();
  await cell.close();
});

function startGateway(env: Record<string, string> = {}): Promise<TestGateway> {
  const oidc = { OIDC_ISSUER: provider.issuer, OIDC_AUDIENCE: audience, OIDC_ALLOW_LOOPBACK: "1" };
  return startTestGateway(databaseUrl, `crm=${cell.url}`, { ...oidc, FAILED_ATTEMPTS_BURST: "10000", ...env });
}

function get(token: string, { tenantId = "tenant-a", headers = {}, at = gateway }: GetOptions = {}) {
  return at.call<Echo>("/api/v1/crm/customers", { key: token, tenantId, headers });
}

interface GetOptions {
  tenantId?: string;
  headers?: Record<string, string>;
  at?: TestGateway;
}

/** The principal that the cell receives for such a token. */
async function principal(options: TokenOptions, at = gateway) {
  const response = await get(await provider.token(options), { at });
  expect(response.status, response.text).toBe(200);
  return response.body.caller.principal;
}

async function expectRefused(token: string, why: RegExp, options?: GetOptions): Promise<void> {
  const before = cell.requests.length;
  const response = await get(token, options);
  expect([response.status, response.body.code]).toEqual([401, "UNAUTHORIZED"]);
  expect(response.headers.get("www-authenticate")).toMatch(/^Bearer realm="Cell CRM", error="invalid_token", error_description="[^"\\]+"$/);
  expect(response.body.message).toMatch(why);
  expect(cell.requests.length).toBe(before);
}

const seconds = (fromNow: number) => Math.floor(Date.now() / 1000) + fromNow;

test("an issuer's token gives its user the role's rights in the claim's tenant", async () => {
  const caller = await principal({ claims: { sub: "ada", roles: ["manager"] } });
  expect(caller).toMatchObject({ tenantId: "tenant-a", userId: "ada", actorType: "user", scope: "tenant" });
  expect(caller.permissions).toContain("crm:write");
  expect(caller.permissions).not.toContain("tenant:admin");
});

test.each(["PS256", "ES256", "EdDSA"])("access tokens signed with %s are accepted", async (algorithm) => {
  const key = await provider.addKey(algorithm);
  const other = await startGateway();
  try {
    expect((await get(await provider.token({ key }), { at: other })).status).toBe(200);
  } finally {
    await other.stop();
    provider.keys.pop();
  }
});

test("several roles add up, the widest scope counts, and unknown roles are ignored", async () => {
  expect(await principal({ claims: { roles: ["sales"] } })).toMatchObject({ scope: "own" });
  const both = await principal({ claims: { roles: ["sales", "auditor", "root", 7] } });
  expect(both).toMatchObject({ scope: "tenant", actorType: "user" });
  expect(both.permissions).toEqual(expect.arrayContaining(["crm:write", "audit:read"]));
  expect(both.permissions).not.toContain("crm:import");
  for (const roles of [["root"], [], "", null, { admin: true }, undefined])
    expect(await principal({ claims: { roles } })).toMatchObject({ permissions: [], scope: "own" });
  expect(await principal({ claims: { roles: "auditor integrator" } })).toMatchObject({ actorType: "user" });
  expect(await principal({ claims: { roles: ["integrator"] } })).toMatchObject({ actorType: "service" });
});

test("an auditor's access token has no right to write", async () => {
  const { permissions } = await principal({ claims: { roles: ["auditor"] } });
  expect(permissions).toEqual(expect.arrayContaining(["crm:read", "audit:read"]));
  for (const writing of ["crm:write", "crm:import", "tenant:admin"]) expect(permissions).not.toContain(writing);
});

test("claims and roles can have other names, and a permissions claim only narrows", async () => {
  const other = await startGateway({
    OIDC_TENANT_CLAIM: "https://crm.test/tenant",
    OIDC_ROLES_CLAIM: "realm_access.roles",
    OIDC_PERMISSIONS_CLAIM: "scope",
    OIDC_ROLES: "CRM Team=sales, crm-audit=auditor",
  });
  const claims = { tenant: undefined, roles: ["admin"], "https://crm.test/tenant": "tenant-a" };
  try {
    const narrowed = { ...claims, realm_access: { roles: ["CRM Team", "admin"] }, scope: "openid crm:read tenant:admin" };
    expect(await principal({ claims: narrowed }, other)).toMatchObject({ permissions: ["crm:read"], scope: "own" });
    const without = { ...claims, realm_access: { roles: ["crm-audit"] } };
    expect(await principal({ claims: without }, other)).toMatchObject({ permissions: [], scope: "tenant" });
    await expectRefused(await provider.token(), /claim https:\/\/crm\.test\/tenant/, { at: other });
  } finally {
    await other.stop();
  }
});

test("request headers must agree with the access token", async () => {
  const token = await provider.token();
  const mismatch = await get(token, { tenantId: "tenant-b" });
  expect([mismatch.status, mismatch.body.code]).toEqual([403, "TENANT_MISMATCH"]);
  expect((await get(token, { headers: { "x-user-id": "ada" } })).status).toBe(200);
  const other = await get(token, { headers: { "x-user-id": "eve" } });
  expect([other.status, other.body.code]).toEqual([403, "FORBIDDEN"]);
});

test("an access token's tenant must exist and not be suspended", async () => {
  await expectRefused(await provider.token({ claims: { tenant: "tenant-nobody" } }), /tenant/, { tenantId: "tenant-nobody" });
  const token = await provider.token({ claims: { tenant: "tenant-b" } });
  expect((await get(token, { tenantId: "tenant-b" })).status).toBe(200);
  await gateway.call("/api/admin/tenants/tenant-b", { method: "PATCH", json: { status: "suspended" } });
  expect((await get(token, { tenantId: "tenant-b" })).body.code).toBe("FORBIDDEN");
  await gateway.call("/api/admin/tenants/tenant-b", { method: "PATCH", json: { status: "active" } });
  expect((await get(token, { tenantId: "tenant-b" })).status).toBe(200);
});

test.each<[string, TokenOptions, RegExp]>([
  ["of another issuer", { claims: { iss: "https://elsewhere.test" } }, /iss/],
  ["without an issuer", { claims: { iss: undefined } }, /iss/],
  ["for another audience", { claims: { aud: "https://other.test" } }, /aud/],
  ["without an audience", { claims: { aud: undefined } }, /aud/],
  ["that has expired", { claims: { exp: seconds(-60) } }, /expired/],
  ["without an expiry", { claims: { exp: undefined } }, /exp/],
  ["with an expiry that is no number", { claims: { exp: "never" } }, /exp/],
  ["that is not valid yet", { claims: { nbf: seconds(120) } }, /not valid yet/],
  ["issued in the future", { claims: { iat: seconds(120) } }, /future/],
  ["without a time of issue", { claims: { iat: undefined } }, /iat/],
  ["without a subject", { claims: { sub: undefined } }, /sub/],
  ["with a subject that no header could carry", { claims: { sub: "a b" } }, /sub/],
  ["without a tenant", { claims: { tenant: undefined } }, /tenant/],
  ["with a tenant that is no name", { claims: { tenant: ["tenant-a"] } }, /tenant/],
  ["with a tenant out of a schema's name", { claims: { tenant: 'tenant-a"; drop' } }, /tenant/],
  ["of the type of an ID token", { header: { typ: "JWT" } }, /type/],
  ["without a type", { header: { typ: undefined } }, /type/],
  ["without a key's id", { header: { kid: undefined } }, /kid/],
  ["of an unknown key", { header: { kid: "nobody" } }, /key/],
  ["with its own key in the header", { header: { jwk: { kty: "RSA" } } }, /jwk/],
  ["with an address of keys in the header", { header: { jku: "https://evil.test/keys" } }, /jku/],
  ["with an address of a certificate in the header", { header: { x5u: "https://evil.test/cert" } }, /x5u/],
])("a token %s is refused", async (_name, options, why) => {
  await expectRefused(await provider.token(options), why);
});

test("an access token is accepted half a minute before and after its validity, for clock skew", async () => {
  expect((await get(await provider.token({ claims: { exp: seconds(-10), nbf: seconds(10), iat: seconds(10) } }))).status).toBe(200);
});

test("access tokens with an unsigned or mismatched algorithm are rejected", async () => {
  const { jwk, pair } = provider.keys[0] ?? (await provider.addKey());
  const payload = {
    iss: provider.issuer,
    aud: audience,
    sub: "eve",
    iat: seconds(0),
    exp: seconds(60),
    tenant: "tenant-a",
    roles: ["admin"],
  };
  const head = { typ: "at+jwt", kid: "key-1" };
  for (const alg of ["none", "None", "NONE", ""])
    await expectRefused(
      forge({ ...head, alg }, payload, () => ""),
      /./,
    );
  for (const alg of ["none", "None", ""])
    await expectRefused(
      forge({ ...head, alg }, payload, () => "AAAA"),
      /algorithm/,
    );
  for (const secret of [await exportSPKI(pair.publicKey), JSON.stringify(jwk)]) {
    const hmac = (input: string) => createHmac("sha256", secret).update(input).digest("base64url");
    await expectRefused(forge({ ...head, alg: "HS256" }, payload, hmac), /algorithm/);
    await expectRefused(forge({ ...head, alg: "RS256" }, payload, hmac), /signature/);
  }
  await expectRefused(await provider.token({ header: { crit: ["b64"], b64: true } }), /crit|b64/);
  await expectRefused(await provider.token({ key: await createKey("key-1", "RS256") }), /signature/);
});

test("an altered, truncated or oversized access token is rejected", async () => {
  const token = await provider.token();
  const [head = "", payload = "", signature = ""] = token.split(".");
  const elevated = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(payload, "base64url").toString()), roles: ["admin"] }));
  const altered = [
    `${head}.${elevated.toString("base64url")}.${signature}`,
    `${head}.${payload}.`,
    `${head}.${payload}`,
    `${head}..${signature}`,
    `${token}.x`,
    `${token}.x.y`,
    `x${token}`,
    `${head}.${payload}.${signature}=`,
    `.${payload}.${signature}`,
    "..",
  ];
  for (const wrong of altered) await expectRefused(wrong, /./);
  await expectRefused(await provider.token({ claims: { pad: "x".repeat(8_000) } }), /8192/);
});

test("an access token of type JWT is accepted if configured", async () => {
  const other = await startGateway({ OIDC_TOKEN_TYPES: "at+jwt,JWT" });
  try {
    for (const typ of ["JWT", "at+jwt", "application/at+JWT"])
      expect((await get(await provider.token({ header: { typ } }), { at: other })).status).toBe(200);
    await expectRefused(await provider.token({ header: { typ: "logout+jwt" } }), /type/, { at: other });
  } finally {
    await other.stop();
  }
});

test("a gateway without an identity provider rejects access tokens, and says what it accepts", async () => {
  const other = await startTestGateway(databaseUrl, `crm=${cell.url}`);
  try {
    await expectRefused(await provider.token(), /send an API key$/, { at: other });
  } finally {
    await other.stop();
  }
});

test.each([
  ["an opaque token", "7dG2cQ1xk0mPzVtY"],
  ["one with dots in it", "v2.local.a.b"],
  ["an encrypted token", `${"eyJhbGciOiJkaXIifQ"}..iv.text.tag`],
])("the response to %s says what is expected, and how to get it", async (_name, token) => {
  const why =
    /neither an API key .* nor a signed JWT.*access token for the audience https:\/\/crm\.test, by its parameter audience or resource/;
  await expectRefused(token, why);
});

test("an access token gives access to its own tenant's administration, only with the role admin", async () => {
  const list = async (roles: string[]) =>
    gateway.call<{ code: string; data: { tenantId: string }[] }>("/api/admin/keys", { key: await provider.token({ claims: { roles } }) });
  expect((await list(["manager"])).status).toBe(403);
  const own = await list(["admin"]);
  expect(own.status).toBe(200);
  expect(new Set(own.body.data.map(({ tenantId }) => tenantId))).toEqual(new Set(["tenant-a"]));
  const tenants = await gateway.call("/api/admin/tenants", { key: await provider.token({ claims: { roles: ["admin"] } }) });
  expect(tenants.status).toBe(403);
});
