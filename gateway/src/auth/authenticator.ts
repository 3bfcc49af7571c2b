import { timingSafeEqual } from "node:crypto";
import type { Logger } from "@cell/http";
import { Problem, unavailable } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type { GatewayMetrics } from "../metrics.ts";
import { type Access, operatorAccess } from "./access.ts";
import { hashToken } from "./api-keys.ts";
import { AuthenticationError } from "./authentication-error.ts";
import type { CredentialVerifier } from "./credentials.ts";
import type { FailedAttempts } from "./failed-attempts.ts";
import type { RolePermissions } from "./roles.ts";

/** Maximum age of a cached access: changes without a new revision, such as an expiry that is set elsewhere, take effect within a minute. */
const accessLifetimeMs = 60_000;
/** An access in use is renewed in the background at this age: if the control plane fails, half of its lifetime is left. */
const renewalAgeMs = 30_000;
const renewalRetryMs = 1_000;
/** Limit on the total length of the cached tokens. */
const keyCharacters = 16 * 1024 * 1024;
const accessLimit = 20_000;
const errorLifetimeMs = 10_000;
const errorLimit = 20_000;
/** With this many lookups in progress, a new token fails instead of waiting. */
const lookupLimit = 1_000;

export interface AuthenticatorOptions {
  /** Each token goes to the first of them that recognizes it. */
  verifiers: readonly CredentialVerifier[];
  /** The audience of access tokens; undefined without an identity provider. */
  audience: string | undefined;
  operatorKey: string | undefined;
  permissions: RolePermissions;
  attempts: FailedAttempts;
  metrics: GatewayMetrics;
  log: Logger;
}

/** Times are of the monotonic clock: a clock that is set back extends no access. */
interface CachedAccess {
  access: Access;
  validUntilMs: number;
  renewAtMs: number;
}

/** Authenticates tokens by the control plane and the identity provider, with a cache of up to a minute. All credentials go through here. */
export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #operatorHash: Buffer | undefined;
  readonly #cachedAccess = new LRUCache<string, CachedAccess>({
    max: accessLimit,
    maxSize: keyCharacters,
    sizeCalculation: (_access, token) => token.length + 1,
  });
  /** By the token's hash: rejected tokens may be long and numerous. */
  readonly #cachedErrors = new LRUCache<string, AuthenticationError>({ max: errorLimit, ttl: errorLifetimeMs });
  readonly #lookups = new Map<string, Promise<Access>>();
  #generation = 0;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#operatorHash = options.operatorKey === undefined ? undefined : hashToken(options.operatorKey);
  }

  /**
   * The access of a token sent from `address`; synchronous on a cache hit. Throws or rejects with UNAUTHORIZED, with RATE_LIMITED after too
   * many failures from there, or with UNAVAILABLE while the token cannot be checked.
   */
  authenticate(token: string | undefined, address: string): Access | Promise<Access> {
    if (token === undefined) throw new Problem("UNAUTHORIZED", "Send a token: Authorization: Bearer <token>");
    const cached = this.#cachedAccess.get(token);
    if (cached === undefined) return this.#authenticateUncached(token, address);
    const now = performance.now();
    // A client with a token that was valid before is not guessing: the limit of failed attempts does not apply.
    if (cached.validUntilMs <= now) return this.#lookUp(token);
    if (cached.renewAtMs <= now) this.#renew(token, cached, now);
    return cached.access;
  }

  /** Invalidates all cached tokens: something in the control plane has changed. */
  forget(): void {
    this.#generation++;
    for (const cached of this.#cachedAccess.values()) cached.validUntilMs = 0;
    this.#cachedErrors.clear();
    this.#lookups.clear();
  }

  /** Looks a token up again, bypassing the cache and without counting a failure as an attempt. Rejects like `authenticate`. */
  reauthenticate(token: string): Promise<Access> {
    return this.#lookUp(token);
  }

  /** The access of a token whose tenant has moved since `stale`: concurrent callers share one lookup. */
  async refreshPlacement(token: string, stale: Access): Promise<Access> {
    const cached = this.#cachedAccess.get(token);
    return cached && cached.access !== stale ? cached.access : this.#lookUp(token);
  }

  async #authenticateUncached(token: string, address: string): Promise<Access> {
    const { attempts } = this.#options;
    attempts.check(address);
    if (this.#lookups.size >= lookupLimit) throw unavailable("Too many tokens are being checked; try again");
    try {
      return await this.#lookUp(token);
    } catch (error) {
      if (error instanceof AuthenticationError && error.countsAsAttempt) attempts.failed(address);
      throw error;
    }
  }

  #lookUp(token: string): Promise<Access> {
    const running = this.#lookups.get(token);
    if (running) return running;
    const generation = this.#generation;
    const lookup = this.#verify(token)
      .then(
        (access) => {
          // A result from before a change must not be cached after it.
          if (generation === this.#generation) this.#keep(token, access);
          return access;
        },
        (error) => {
          if (error instanceof AuthenticationError) this.#refuse(token);
          throw error;
        },
      )
      .finally(() => {
        if (this.#lookups.get(token) === lookup) this.#lookups.delete(token);
      });
    this.#lookups.set(token, lookup);
    return lookup;
  }

  #keep(token: string, access: Access): void {
    const now = performance.now();
    const lifetimeMs = Math.min(accessLifetimeMs, access.expiresAtMs - Date.now());
    this.#cachedAccess.set(token, { access, validUntilMs: now + lifetimeMs, renewAtMs: now + renewalAgeMs });
  }

  #refuse(token: string): void {
    this.#cachedAccess.delete(token);
    this.#options.metrics.refusedTokens.inc();
  }

  #renew(token: string, cached: CachedAccess, now: number): void {
    cached.renewAtMs = now + renewalRetryMs;
    this.#lookUp(token).catch((error) => this.#options.log.debug({ err: error }, "an access was not renewed"));
  }

  async #verify(token: string): Promise<Access> {
    const hash = hashToken(token);
    if (this.#operatorHash && timingSafeEqual(hash, this.#operatorHash)) return operatorAccess(this.#options.permissions.grantable);
    const hashText = hash.toString("base64");
    const refused = this.#cachedErrors.get(hashText);
    if (refused) throw refused;
    const generation = this.#generation;
    try {
      return await this.#verifyByForm(token, hash);
    } catch (error) {
      if (!(error instanceof AuthenticationError))
        throw error instanceof Problem ? error : unavailable("Tokens cannot be checked for a moment; try again", 1, error);
      if (error.cacheable && generation === this.#generation) this.#cachedErrors.set(hashText, error);
      throw error;
    }
  }

  #verifyByForm(token: string, hash: Buffer): Promise<Access> {
    const { verifiers, audience } = this.#options;
    const verifier = verifiers.find((candidate) => candidate.recognises(token));
    if (verifier) return verifier.verify(token, hash);
    throw new AuthenticationError(whatIsExpected(token, audience), { cacheable: false });
  }
}

/**
 * Explains why a token of an unknown form is rejected, and how to get a valid one. `audience`: that of access tokens, if they are accepted.
 */
function whatIsExpected(token: string, audience: string | undefined): string {
  if (token.startsWith("crm_")) return "This API key is incomplete: keys have the form crm_<environment>_ and 32 characters";
  if (audience === undefined)
    return "This is not an API key (crm_<environment>_ and 32 characters); no identity provider is configured here: send an API key";
  return (
    "This token is neither an API key (crm_<environment>_ and 32 characters) nor a signed JWT: an opaque or encrypted token can only be read by " +
    `the identity provider. Request an access token for the audience ${audience}, by its parameter audience or resource: that one is a JWT`
  );
}
