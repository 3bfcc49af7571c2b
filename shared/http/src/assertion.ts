import { hash, hkdfSync, timingSafeEqual } from "node:crypto";
import { Problem, unavailable } from "@cell/problem";
import type { CredentialClass } from "./declaration.ts";
import type { Permission } from "./permissions.ts";

/** The authenticated caller, as the gateway established it. It is the part of an assertion that is the same for all its requests. */
export interface Principal {
  tenantId: string;
  userId: string;
  /** For the audit trail: a person's key, a program's key, or the operator. */
  actorType: "user" | "service" | "operator";
  permissions: readonly Permission[];
  /** `own`: only records that the user owns. */
  scope: "tenant" | "own";
  /** The user to whom the token was issued, where the token acts for `userId`: limits of one user count for this one. */
  tokenUserId?: string;
  /** What proved the caller's right; absent stands for a key. */
  credential?: CredentialClass;
  /** Storage quota of the tenant in the cell, in bytes; absent: unlimited. */
  quotaBytes?: number;
}

/** The caller of one request: the principal and the request's id. */
export interface Caller {
  principal: Principal;
  requestId: string;
  /** The client sent the id, so that it may serve as an idempotency key. */
  requestIdIsKey: boolean;
}

interface AssertionKey {
  id: string;
  innerPad: Buffer;
  outerPad: Buffer;
}

/** The keys that a cell accepts; the first one signs. To rotate: append the new key, then move it to the front, then remove the old one. */
export type AssertionKeys = readonly [AssertionKey, ...AssertionKey[]];

const lifetimeSeconds = 30;

/** Parses `id:base64url[,id:base64url…]`; secrets have at least 32 bytes. Throws an Error that names the fault. */
export function parseAssertionKeys(text: string): AssertionKeys {
  const [first, ...others] = text.split(",").map((part) => {
    const [id, secret] = part.trim().split(":");
    if (!id || !/^[A-Za-z0-9_-]{1,16}$/.test(id)) throw new Error("must be written id:base64url, by comma");
    const bytes = Buffer.from(secret ?? "", "base64url");
    if (bytes.length < 32) throw new Error(`must hold 32 bytes or more in base64url for the key "${id}"`);
    return assertionKey(id, bytes);
  });
  if (!first) throw new Error("there is no key");
  return [first, ...others];
}

function assertionKey(id: string, secret: Buffer): AssertionKey {
  const block = Buffer.alloc(64);
  (secret.length > 64 ? hash("sha256", secret, "buffer") : secret).copy(block);
  return { id, innerPad: block.map((byte) => byte ^ 0x36) as Buffer, outerPad: block.map((byte) => byte ^ 0x5c) as Buffer };
}

/**
 * Derives a 32-byte key for another purpose from each assertion key, under the same ids. Every process with the same keys derives the same
 * ones.
 */
export function derivedKeys(keys: AssertionKeys, purpose: string): { id: string; key: Buffer }[] {
  return keys.map(({ id, innerPad }) => ({ id, key: Buffer.from(hkdfSync("sha256", innerPad, "", purpose, 32)) }));
}

// Reused by all calls: they are synchronous, so that they never interleave.
let innerBlock = Buffer.alloc(4096);
const outerBlock = Buffer.alloc(64 + 32);

/** HMAC-SHA256 (RFC 2104) in base64url, made of two one-shot hashes: it takes a seventh of createHmac's time for messages this short. */
function hmac(key: AssertionKey, message: string): string {
  // Header values never need more than two bytes a character.
  if (64 + 2 * message.length > innerBlock.length) innerBlock = Buffer.alloc(64 + 4 * message.length);
  innerBlock.set(key.innerPad);
  const end = 64 + innerBlock.write(message, 64);
  outerBlock.set(key.outerPad);
  outerBlock.set(hash("sha256", innerBlock.subarray(0, end), "buffer"), 64);
  return hash("sha256", outerBlock, "base64url");
}

const encoded = new WeakMap<Principal, string>();

/**
 * The header value by which the gateway tells a cell the caller: `keyId.expiry.flag.principal.signature`. The signature also covers the
 * audience (the cell's name) and the request's id, which travels as `X-Request-ID`. Valid for 30 seconds.
 */
export function signAssertion(keys: AssertionKeys, audience: string, caller: Caller, nowSeconds: number): string {
  let principal = encoded.get(caller.principal);
  if (principal === undefined) {
    principal = Buffer.from(JSON.stringify(caller.principal)).toString("base64url");
    encoded.set(caller.principal, principal);
  }
  const head = `${keys[0].id}.${nowSeconds + lifetimeSeconds}.${caller.requestIdIsKey ? "k" : "g"}.${principal}`;
  return `${head}.${hmac(keys[0], `${head}.${audience}.${caller.requestId}`)}`;
}

const decoded = new Map<string, Principal>();
const decodedLimit = 10_000;

/**
 * The caller that a valid assertion names. Throws UNAUTHORIZED for one that is missing, forged or made for another audience. Throws
 * UNAVAILABLE for a genuine one outside its validity: the caller's token is good, and a retry succeeds once the clocks agree.
 */
export function verifyAssertion(
  keys: AssertionKeys,
  audience: string,
  assertion: string | undefined,
  requestId: string | undefined,
  nowSeconds: number,
): Caller {
  const [keyId, expiry, flag, principal, signature, more] = assertion?.split(".") ?? [];
  const key = keys.find((candidate) => candidate.id === keyId);
  if (!key || !expiry || !flag || !principal || !signature || more !== undefined || requestId === undefined) throw refused();
  const given = Buffer.from(signature);
  const expected = Buffer.from(hmac(key, `${keyId}.${expiry}.${flag}.${principal}.${audience}.${requestId}`));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw refused();
  const secondsLeft = Number(expiry) - nowSeconds;
  if (!(secondsLeft > 0 && secondsLeft <= 2 * lifetimeSeconds)) {
    const apart = new Error(`the clocks of the gateway and this cell are ${Math.round(Math.abs(secondsLeft - lifetimeSeconds))} s apart`);
    throw unavailable("The clocks of the service and the gateway differ for a moment; try again", 1, apart);
  }
  return { principal: decodePrincipal(principal), requestId, requestIdIsKey: flag === "k" };
}

function decodePrincipal(text: string): Principal {
  let principal = decoded.get(text);
  if (principal === undefined) {
    principal = JSON.parse(Buffer.from(text, "base64url").toString()) as Principal;
    if (decoded.size >= decodedLimit) decoded.clear();
    decoded.set(text, principal);
  }
  return principal;
}

function refused(): Problem {
  return new Problem("UNAUTHORIZED", "This service only accepts requests from the gateway: call it through the gateway with your token");
}
