import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, type GenerateKeyPairResult, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from "jose";
import { reply } from "./cell.ts";

export const audience = "https://crm.test";

/** A test token's content unless overridden; undefined omits a claim or a header. */
export interface TokenOptions {
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
  /** Signs with this key instead of the newest one. */
  key?: SigningKey | undefined;
}

export interface SigningKey {
  kid: string;
  algorithm: string;
  pair: GenerateKeyPairResult;
  jwk: JWK;
}

/** An OIDC provider on this machine: discovery, keys, and tokens of any kind. */
export interface TestIdentityProvider {
  issuer: string;
  /** The published keys, newest last. */
  keys: SigningKey[];
  /** How it responds: correctly, not at all, by closing the connection, or with these documents. */
  mode: "well" | "silent" | "away" | { discovery?: unknown; keys?: unknown };
  /** Number of requests for its keys. */
  keyRequests: number;
  /** Publishes another key. */
  addKey(algorithm?: string): Promise<SigningKey>;
  token(options?: TokenOptions): Promise<string>;
  close(): Promise<void>;
}

export async function createKey(kid: string, algorithm: string): Promise<SigningKey> {
  const pair = await generateKeyPair(algorithm, { extractable: true });
  return { kid, algorithm, pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg: algorithm, use: "sig" } };
}

export async function startIdentityProvider(): Promise<TestIdentityProvider> {
  const server = createServer((incoming, outgoing) => {
    if (provider.mode === "silent") return;
    if (provider.mode === "away") incoming.socket.destroy();
    else response(incoming.url ?? "", outgoing, provider.mode);
  });
  function response(url: string, outgoing: ServerResponse, mode: Exclude<TestIdentityProvider["mode"], string> | "well"): void {
    const instead = mode === "well" ? {} : mode;
    const { issuer, keys } = provider;
    if (url === "/.well-known/openid-configuration") {
      reply(outgoing, 200, instead.discovery ?? { issuer, jwks_uri: `${issuer}/keys` });
    } else if (url === "/keys") {
      provider.keyRequests++;
      reply(outgoing, 200, instead.keys ?? { keys: keys.map(({ jwk }) => jwk) });
    } else if (url === "/redirect") {
      outgoing.writeHead(302, { location: `${issuer}/keys` }).end();
    } else {
      reply(outgoing, 404, {});
    }
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const provider: TestIdentityProvider = {
    issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys: [],
    mode: "well",
    keyRequests: 0,
    async addKey(algorithm = "RS256") {
      const key = await createKey(`key-${provider.keys.length + 1}`, algorithm);
      provider.keys.push(key);
      return key;
    },
    token: (options = {}) => sign(provider, options),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  await provider.addKey();
  return provider;
}

function sign(provider: TestIdentityProvider, { claims, header, key = provider.keys.at(-1) }: TokenOptions): Promise<string> {
  if (!key) throw new Error("the provider has no key");
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: provider.issuer,
    aud: audience,
    sub: "ada",
    iat: now,
    exp: now + 300,
    tenant: "tenant-a",
    roles: ["manager"],
    ...claims,
  };
  const head = withoutGaps({ alg: key.algorithm, typ: "at+jwt", kid: key.kid, ...header });
  return new SignJWT(withoutGaps(payload))
    .setProtectedHeader(head as Record<string, unknown> & JWTHeaderParameters)
    .sign(key.pair.privateKey);
}

function withoutGaps(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** A token made by hand: given header and payload, and any signature. */
export function forge(header: unknown, payload: unknown, signature: (input: string) => string): string {
  const input = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${input}.${signature(input)}`;
}
