import { type HttpBindings, insufficientScope, type Permission, type Principal } from "@cell/http";
import type { Context, MiddlewareHandler } from "hono";
import { type Access, principalOf } from "../auth/access.ts";
import { clientAddress } from "../auth/client-address.ts";
import { readIdentity } from "../auth/request-identity.ts";
import type { Services } from "../services.ts";

/** Context variables of the gateway's own routes. */
export interface GatewayEnv {
  Bindings: HttpBindings;
  Variables: { requestId: string; access: Access };
}

/** Authenticates the caller. The tenant and user headers may be omitted here, but must not contradict the token. */
export function requireKey({ authenticator, rateLimits, config }: Services): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const { incoming } = c.env;
    const identity = readIdentity(incoming);
    const access = await authenticator.authenticate(identity.token, clientAddress(incoming, config.trustedProxies));
    if (!access.operator) {
      const { tenantId } = access.principal;
      rateLimits.take(access.tokenId, tenantId, access.rateLimit);
      principalOf(access, { ...identity, tenantId: identity.tenantId ?? tenantId });
    }
    c.set("access", access);
    await next();
  };
}

/** Returns for the platform operator, otherwise throws FORBIDDEN. */
export function requireOperator(c: Context<GatewayEnv>): void {
  if (!c.var.access.operator) throw insufficientScope("Only the platform operator may do this");
}

/** The tenant that the caller administers; undefined for the operator, who administers all. Throws FORBIDDEN. */
export function administeredTenant(c: Context<GatewayEnv>): string | undefined {
  return tenantOf(c, ["tenant:admin"]);
}

/** The tenant that the caller administers or audits; undefined for the operator: all tenants. Throws FORBIDDEN. */
export function auditedTenant(c: Context<GatewayEnv>): string | undefined {
  return tenantOf(c, ["tenant:admin", "audit:read"]);
}

function tenantOf(c: Context<GatewayEnv>, anyOf: readonly Permission[]): string | undefined {
  const { operator, principal } = c.var.access;
  if (operator) return undefined;
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
