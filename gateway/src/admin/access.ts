import { type HttpBindings, insufficientScope, type Permission, type Principal } from "@cell/http";
import type { Context, MiddlewareHandler } from "hono";
import { type Access, principalOf } from "../auth/access.ts";
import { clientAddress } from "../auth/client-address.ts";
import { readIdentity } from "../auth/request-identity.ts";
import type { Services } from "../services.ts";

/** What the gateway's own routes find in their context. */
export interface GatewayEnv {
  Bindings: HttpBindings;
  Variables: { requestId: string; access: Access };
}

/** Finds out who calls. The tenant and user headers may be left out here, but not contradict the token. */
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

/** The platform operator, or FORBIDDEN. */
export function requireOperator(c: Context<GatewayEnv>): void {
  if (!c.var.access.operator) throw insufficientScope("Only the platform operator may do this");
}

/** The operator, or someone who administers a tenant; FORBIDDEN otherwise. Undefined stands for all tenants. */
export function administeredTenant(c: Context<GatewayEnv>): string | undefined {
  return tenantOf(c, ["tenant:admin"]);
}

/** The operator, or someone who administers or audits a tenant; FORBIDDEN otherwise. Undefined stands for all tenants. */
export function auditedTenant(c: Context<GatewayEnv>): string | undefined {
  return tenantOf(c, ["tenant:admin", "audit:read"]);
}

function tenantOf(c: Context<GatewayEnv>, anyOf: readonly Permission[]): string | undefined {
  const { operator, principal } = c.var.access;
  if (operator) return undefined;
  if (!anyOf.some((permission) => principal.permissions.includes(permission)))
    throw insufficientScope(`This takes the permission ${anyOf.join(" or ")}`, anyOf.slice(0, 1));
  return principal.tenantId;
}

/** The rights that a key grants. */
export interface Grant {
  userId: string;
  permissions: readonly Permission[];
  scope: Principal["scope"];
  actAs: boolean;
}

/** Nobody hands out more than they hold: FORBIDDEN naming what is missing. */
export function requireHeld(holder: Principal, { userId, permissions, scope, actAs }: Grant): void {
  const missing = permissions.filter((permission) => !holder.permissions.includes(permission));
  if (missing.length > 0) throw insufficientScope(`You cannot grant what you do not hold: ${missing.join(", ")}`, missing);
  if (holder.scope === "tenant") return;
  if (scope === "tenant" || userId !== holder.userId || actAs)
    throw insufficientScope("You cannot grant more than your own records: a key for another user, or one that acts for others");
}
