import type { Principal } from "@cell/http";
import type { JWTPayload } from "jose";
import { AuthenticationError } from "../authentication-error.ts";
import { userIdPattern } from "../request-identity.ts";
import { type RolePermissions, roles } from "../roles.ts";
import type { OidcConfig } from "./config.ts";

const tenantIdPattern = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;

/**
 * The caller by the claims of a verified token. Several roles add up their permissions, and the widest scope counts; unknown roles are
 * ignored. A permissions claim, if configured, only narrows them. Throws an AuthenticationError that names the claim at fault.
 */
export function rightsOf(
  payload: JWTPayload,
  { claims, roleNames: names }: Pick<OidcConfig, "claims" | "roleNames">,
  rolePermissions: RolePermissions,
): Principal {
  const tenantId = claim(payload, claims.tenant);
  if (typeof tenantId !== "string" || !tenantIdPattern.test(tenantId)) throw badClaim(claims.tenant, "the id of a tenant");
  const userId = payload.sub;
  if (typeof userId !== "string" || !userIdPattern.test(userId)) throw badClaim("sub", "1 to 128 characters of A-Z a-z 0-9 . _ : @ -");
  const held = words(claim(payload, claims.roles)).flatMap((name) => names.get(name) ?? []);
  const allowed = claims.permissions === undefined ? undefined : words(claim(payload, claims.permissions));
  return {
    tenantId,
    userId,
    actorType: held.length > 0 && held.every((role) => roles[role].actorType === "service") ? "service" : "user",
    permissions: rolePermissions.grantable.filter(
      (permission) => held.some((role) => rolePermissions.of(role).includes(permission)) && (allowed?.includes(permission) ?? true),
    ),
    scope: held.some((role) => roles[role].scope === "tenant") ? "tenant" : "own",
  };
}

/** A claim by name, or by path as in `realm_access.roles`; undefined if there is none. */
function claim(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  return name
    .split(".")
    .reduce<unknown>((value, part) => (isRecord(value) && Object.hasOwn(value, part) ? value[part] : undefined), payload);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** A list of names: a JSON array or, as OAuth writes scopes, one string with spaces. */
function words(value: unknown): string[] {
  if (typeof value === "string") return value.split(" ");
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function badClaim(name: string, wanted: string): AuthenticationError {
  return new AuthenticationError(`This access token is rejected: its claim ${name} must be ${wanted}`, {
    cacheable: true,
    countsAsAttempt: false,
  });
}
