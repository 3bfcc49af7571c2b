import type { CredentialClass, Permission, Principal } from "@cell/http";
import { badField, Problem } from "@cell/problem";
import { type Identity, userIdPattern } from "./request-identity.ts";

/** The rights of a token. */
export interface Access {
  operator: boolean;
  credential: CredentialClass;
  /** Identifies the token without revealing it: a key's id, `oidc:<subject>`, or `operator`. */
  tokenId: string;
  principal: Principal;
  /** May act for other users of its tenant. */
  actAs: boolean;
  suspended: boolean;
  /** The tenant's own limit in requests per second; null: the gateway's setting, 0: none. */
  rateLimit: number | null;
  /** The placement of the tenant's data: the partition's address by cell. */
  placements: ReadonlyMap<string, string>;
  /** When the token expires, in milliseconds since 1970; Infinity for never. */
  expiresAtMs: number;
  /** The principals of the users that it has acted for. */
  acting: Map<string, Principal>;
}

/** A token's tenant: one row for each cell that it is placed in, or a single one without a placement. */
export interface PlacedTenant {
  status: "active" | "suspended";
  rateLimit: number | null;
  quotaBytes: number | null;
  cell: string | null;
  url: string | null;
}

const actingLimit = 1_000;

/** The part of an access that depends on the tenant. */
export function tenantPart(rows: readonly PlacedTenant[]): Pick<Access, "suspended" | "rateLimit" | "placements" | "acting"> {
  return {
    suspended: rows.some(({ status }) => status === "suspended"),
    rateLimit: rows[0]?.rateLimit ?? null,
    placements: new Map(rows.flatMap(({ cell, url }) => (cell !== null && url !== null ? [[cell, url]] : []))),
    acting: new Map(),
  };
}

/** The part of the assertion that depends on the tenant. */
export function quotaPart([row]: readonly PlacedTenant[]): Pick<Principal, "quotaBytes"> {
  return row?.quotaBytes == null ? {} : { quotaBytes: row.quotaBytes };
}

/** The rights of the platform operator's key. `permissions`: all that can be granted. */
export function operatorAccess(permissions: readonly Permission[]): Access {
  return {
    operator: true,
    credential: "key",
    tokenId: "operator",
    principal: { tenantId: "", userId: "operator", actorType: "operator", permissions, scope: "tenant", credential: "key" },
    actAs: false,
    ...tenantPart([]),
    expiresAtMs: Number.POSITIVE_INFINITY,
  };
}

/**
 * The caller of a request to a cell. The headers must agree with the token: otherwise throws BAD_REQUEST, TENANT_MISMATCH or FORBIDDEN.
 * `isTenantOptional`: the tenant header may be omitted.
 */
export function principalOf(access: Access, { tenantId, userId }: Identity, isTenantOptional = false): Principal {
  if (tenantId === undefined && !isTenantOptional) throw badField("X-Tenant-Id", "REQUIRED", "send the tenant that the token belongs to");
  if (tenantId !== undefined && tenantId !== access.principal.tenantId)
    throw new Problem("TENANT_MISMATCH", "X-Tenant-Id is not the tenant of this token");
  if (access.suspended) throw new Problem("FORBIDDEN", "This tenant is suspended");
  if (userId === undefined || userId === access.principal.userId) return access.principal;
  if (!access.actAs) throw new Problem("FORBIDDEN", "X-User-Id is not the user of this token, and the token may not act for others");
  return actingFor(access, userId);
}

function actingFor(access: Access, userId: string): Principal {
  const known = access.acting.get(userId);
  if (known) return known;
  if (!userIdPattern.test(userId)) throw badField("X-User-Id", "INVALID_FORMAT", "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ -");
  const principal: Principal = { ...access.principal, userId, actorType: "service", tokenUserId: access.principal.userId };
  if (access.acting.size >= actingLimit) access.acting.clear();
  access.acting.set(userId, principal);
  return principal;
}
