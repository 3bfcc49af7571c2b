import type { IncomingMessage } from "node:http";
import { insufficientScope, type Permission, type Principal } from "@cell/http";
import { type Access, principalOf } from "../auth/access.ts";
import { clientAddress } from "../auth/client-address.ts";
import { readIdentity } from "../auth/request-identity.ts";
import type { Services } from "../services.ts";
import type { Callers } from "./endpoint.ts";

/**
 * The caller's rights, within its rate limit. The headers of tenant and user are optional here, but must not contradict the token.
 * Rejects with UNAUTHORIZED, RATE_LIMITED or TENANT_MISMATCH.
 */
export async function authenticate({ authenticator, rateLimits, config }: Services, incoming: IncomingMessage): Promise<Access> {
  const identity = readIdentity(incoming);
  const access = await authenticator.authenticate(identity.token, clientAddress(incoming, config.trustedProxies));
  if (!access.operator) {
    const { tenantId } = access.principal;
    rateLimits.take(access.tokenId, tenantId, access.rateLimit);
    principalOf(access, { ...identity, tenantId: identity.tenantId ?? tenantId });
  }
  return access;
}

/** The tenant that a caller is limited to; undefined for the operator. Throws FORBIDDEN for a caller that a route does not take. */
export function ownTenantOf({ operator, principal }: Access, callers: Callers): string | undefined {
  if (operator) return undefined;
  if (callers === "operator") throw insufficientScope("Only the platform operator may do this");
  if (callers === "all") return principal.tenantId;
  const { anyOf } = callers;
  if (!anyOf.some((permission) => principal.permissions.includes(permission)))
    throw insufficientScope(`This needs the permission ${anyOf.join(" or ")}`, anyOf.slice(0, 1));
  return principal.tenantId;
}

/** The rights that a key grants. */
export interface Grant {
  userId: string;
  permissions: readonly Permission[];
  scope: Principal["scope"];
  actAs: boolean;
}

/** Throws FORBIDDEN that lists rights which the holder would grant without having them. */
export function requireHeld(holder: Principal, { userId, permissions, scope, actAs }: Grant): void {
  const missing = permissions.filter((permission) => !holder.permissions.includes(permission));
  if (missing.length > 0) throw insufficientScope(`You cannot grant what you do not hold: ${missing.join(", ")}`, missing);
  if (holder.scope === "tenant") return;
  if (scope === "tenant" || userId !== holder.userId || actAs)
    throw insufficientScope("You can only grant access to your own records: no key for another user, and none that acts for others");
}
