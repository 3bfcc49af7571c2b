import type { IncomingMessage } from "node:http";
import type { Caller, CredentialClass, RoutePolicy } from "@cell/http";
import { Problem } from "@cell/problem";
import { type Access, principalOf } from "../auth/access.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import { clientAddress, type TrustedProxies } from "../auth/client-address.ts";
import { type Identity, type RequestId, readIdentity } from "../auth/request-identity.ts";
import type { TenantAccess } from "../auth/tenant-access.ts";
import type { RateLimits } from "../limits/rate-limits.ts";
import { takeQueryToken } from "./query-token.ts";
import type { Target } from "./route-target.ts";

/** An admitted request: authenticated, within its limits, and with a credential class that the route accepts. */
export interface Admitted {
  access: Access;
  /** Undefined for a caller without one. */
  token: string | undefined;
  caller: Caller;
  /** Of the client. */
  address: string;
  /** As it is sent to the cell. */
  query: string;
  /** The response's rate limit headers: names and values alternating. */
  limitHeaders: readonly string[];
}

export interface AdmissionOptions {
  authenticator: Authenticator;
  tenantAccess: TenantAccess;
  rateLimits: RateLimits;
  trustedProxies: TrustedProxies;
}

const credentialNames: Record<CredentialClass, string> = {
  key: "an API key",
  jwt: "an access token",
  session: "a session token",
  customer: "a customer token",
  public: "no credential",
  webhook: "a signature",
};

/** Decides whether a request may be sent to a cell, the same way for plain requests and for upgrades. */
export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** The admitted request; synchronous if its token is cached. Throws or rejects with the error. */
  admit(incoming: IncomingMessage, target: Target, policy: RoutePolicy, id: RequestId): Admitted | Promise<Admitted> {
    const { authenticator, tenantAccess, trustedProxies } = this.#options;
    const identity = readIdentity(incoming);
    let { query } = target;
    let isTokenInQuery = false;
    if (policy.bulkhead === "events" || policy.upgrade) {
      const taken = takeQueryToken(query);
      query = taken.query;
      isTokenInQuery = identity.token === undefined && taken.token !== undefined;
      if (isTokenInQuery) identity.token = taken.token;
    }
    const address = clientAddress(incoming, trustedProxies);
    const { token } = identity;
    const isPublic = token === undefined && policy.credentials.includes("public");
    const access = isPublic ? tenantAccess.ofPublic(incoming.headers, query, address) : authenticator.authenticate(token, address);
    const admitted = (found: Access) => {
      const isTenantOptional = isTokenInQuery || isPublic || policy.tenantHeader === "optional";
      return this.#complete(found, { identity, address, query, isTenantOptional }, policy, id);
    };
    return access instanceof Promise ? access.then(admitted) : admitted(access);
  }

  #complete(
    access: Access,
    { identity, address, query, isTenantOptional }: { identity: Identity; address: string; query: string; isTenantOptional: boolean },
    policy: RoutePolicy,
    id: RequestId,
  ): Admitted {
    if (!policy.credentials.includes(access.credential)) throw new Problem("FORBIDDEN", whatIsTaken(policy, access.credential));
    const { rateLimits } = this.#options;
    const { tenantId } = access.principal;
    const limitHeaders =
      policy.rateClass === undefined
        ? rateLimits.take(access.tokenId, tenantId, access.rateLimit)
        : rateLimits.takeWithClass(policy.rateClass, access, address);
    const principal = principalOf(access, access.credential === "public" ? { ...identity, userId: undefined } : identity, isTenantOptional);
    return { access, token: identity.token, caller: { principal, ...id }, address, query, limitHeaders };
  }
}

function whatIsTaken({ credentials }: RoutePolicy, given: CredentialClass): string {
  return `This path does not take ${credentialNames[given]}; it takes ${credentials.map((name) => credentialNames[name]).join(" or ")}`;
}
