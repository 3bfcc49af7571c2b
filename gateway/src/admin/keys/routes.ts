import { randomBytes } from "node:crypto";
import { insufficientScope, type Permission, type Principal } from "@cell/http";
import { badField, badFields, notFound, Problem } from "@cell/problem";
import { v7 as uuid } from "uuid";
import { z } from "zod";
import { hashToken } from "../../auth/api-keys.ts";
import { actsForOthers, type RolePermissions, roles } from "../../auth/roles.ts";
import { change } from "../../control-plane/tables.ts";
import type { Services } from "../../services.ts";
import { type Grant, requireHeld } from "../access.ts";
import type { AdminRoutes } from "../admin-routes.ts";
import { adminEndpoint } from "../endpoint.ts";
import { pageQuery, tenantIdSchema } from "../schemas.ts";
import * as tenants from "../tenants/repository.ts";
import * as keys from "./repository.ts";
import { issuedKeySchema, type Key, keyCreateSchema, keyListSchema, keyRevokedSchema, keyRotateSchema } from "./schema.ts";

/** A later time would have a year that RFC 3339 cannot write, in some timezone. */
const lastExpiryMs = Date.parse("9998-12-31T23:59:59.999Z");

const params = z.object({ keyId: z.uuid().toLowerCase().describe("The key's id") });

const createKey = adminEndpoint({
  method: "post",
  path: "/api/admin/keys",
  tag: "Keys",
  callers: { anyOf: ["tenant:admin"] },
  summary: "Issue a key",
  description:
    "For the operator in any tenant; for callers with tenant:admin in their own. Nobody can grant a permission that they do not hold. A key of  " +
    "a role limited to its own records (sales) cannot act for others, and only grants keys of its own user.",
  body: keyCreateSchema,
  status: 201,
  response: { description: "The key; its secret is shown this once", schema: issuedKeySchema },
  errorResponses: [404],
});

const listKeys = adminEndpoint({
  method: "get",
  path: "/api/admin/keys",
  tag: "Keys",
  callers: { anyOf: ["tenant:admin", "audit:read"] },
  summary: "List the keys",
  description:
    "The operator sees the keys of all tenants; callers with tenant:admin or audit:read those of their own. Secrets are never shown.  " +
    "A key of a role limited to its own records (sales) only lists and revokes keys of its own user.",
  query: z.strictObject({ ...pageQuery, tenantId: tenantIdSchema.optional() }),
  status: 200,
  response: { description: "A page of keys, newest first", schema: keyListSchema },
  errorResponses: [404],
});

const rotateKey = adminEndpoint({
  method: "post",
  path: "/api/admin/keys/{keyId}/rotate",
  tag: "Keys",
  callers: { anyOf: ["tenant:admin"] },
  summary: "Replace a key",
  description: "The new key has the same rights and the same lifetime; the old one expires after the grace period.",
  params,
  body: keyRotateSchema,
  bodyOptional: true,
  status: 201,
  response: { description: "The new key; its secret is shown this once", schema: issuedKeySchema },
  errorResponses: [404, 409],
});

const revokeKey = adminEndpoint({
  method: "delete",
  path: "/api/admin/keys/{keyId}",
  operationId: "keys.revoke",
  tag: "Keys",
  callers: { anyOf: ["tenant:admin"] },
  summary: "Revoke a key",
  description: "Every gateway rejects the key within 5 seconds.",
  params,
  status: 200,
  response: { description: "The key is revoked", schema: keyRevokedSchema },
  errorResponses: [404],
});

/** The lifecycle of keys: for the operator, and for a tenant's administrators within their tenant. */
export function registerKeys(routes: AdminRoutes, { config, db, permissions, changed }: Services): void {
  routes.respond(createKey, async ({ body, access, ownTenantId }) => {
    const tenantId = targetTenant(ownTenantId, body.tenantId);
    if (tenantId === undefined) throw badField("tenantId", "REQUIRED", "is required: the tenant of the key");
    const expiresAt = body.expiresAt ?? null;
    checkExpiry(expiresAt);
    const given = body.permissions === undefined ? null : knownPermissions(body.permissions, permissions);
    requireHeld(access.principal, grantOf({ ...body, permissions: given }, permissions));
    checkActAs(body);
    const secret = newSecret(config.keyEnvironment);
    const stored = await change(db, async (tx) => {
      if (!(await tenants.find(tx, tenantId))) throw notFound("Tenant");
      return keys.insert(tx, {
        ...secret.columns,
        tenantId,
        userId: body.userId,
        role: body.role,
        permissions: given,
        actAs: body.actAs,
        name: body.name ?? null,
        expiresAt,
      });
    });
    return { ...published(stored, permissions), key: secret.key };
  });

  routes.respond(listKeys, async ({ query, access, ownTenantId }) => {
    const { page, pageSize, tenantId } = query;
    await tenants.requireTenant(db, tenantId);
    const of = { tenantId: targetTenant(ownTenantId, tenantId), userId: ownUser(access.principal) };
    const { data, total } = await keys.list(db, of, page, pageSize);
    return { data: data.map((key) => published(key, permissions)), total, page, pageSize };
  });

  routes.respond(rotateKey, async ({ params: { keyId }, body: { graceSeconds }, access, ownTenantId }) => {
    const secret = newSecret(config.keyEnvironment);
    const stored = await change(db, async (tx) => {
      const old = await keys.lock(tx, keyId, ownTenantId);
      if (!old) throw notFound("Key");
      if (isEnded(old)) throw new Problem("CONFLICT", "This key has expired; issue a new one");
      requireHeld(access.principal, grantOf(old, permissions));
      await keys.expire(tx, keyId, new Date(Date.now() + graceSeconds * 1000).toISOString());
      const { tenantId, userId, role, name } = old;
      const actAs = actsForOthers(old);
      const expiresAt = renewedExpiry(old);
      return keys.insert(tx, {
        ...secret.columns,
        tenantId,
        userId,
        role,
        permissions: old.permissions,
        actAs,
        name,
        expiresAt,
        rotatedFrom: keyId,
      });
    });
    changed();
    return { ...published(stored, permissions), key: secret.key };
  });

  routes.respond(revokeKey, async ({ params: { keyId }, access, ownTenantId }) => {
    await change(db, async (tx) => {
      const key = await keys.lock(tx, keyId, ownTenantId);
      if (!key) throw notFound("Key");
      const user = ownUser(access.principal);
      if (user !== undefined && key.userId !== user) throw insufficientScope("You can only revoke keys of your own user");
      await keys.revoke(tx, keyId);
    });
    changed();
    return { keyId, revoked: true as const };
  });
}

/** Throws BAD_REQUEST for a time that is past, or too late. */
function checkExpiry(expiresAt: string | null): void {
  if (expiresAt === null) return;
  if (Date.parse(expiresAt) <= Date.now()) throw badField("expiresAt", "OUT_OF_RANGE", "must be in the future");
  if (Date.parse(expiresAt) > lastExpiryMs) throw badField("expiresAt", "OUT_OF_RANGE", "must be before the year 9999");
}

/** Throws BAD_REQUEST for a key that is to act for others although its role is limited to its own records. */
function checkActAs(given: Pick<keys.StoredKey, "role" | "actAs">): void {
  if (!given.actAs || actsForOthers(given)) return;
  const message = `must be false: a key of the role ${given.role} is limited to its own user's records and cannot act for others`;
  throw badField("actAs", "NOT_SUPPORTED", message);
}

/** The only user whose keys a caller may see and revoke; undefined if it may see the whole tenant's. */
function ownUser({ scope, userId }: Principal): string | undefined {
  return scope === "own" ? userId : undefined;
}

/** The requested tenant: for the operator any, for others only their own; another's is a 404. */
function targetTenant(own: string | undefined, wanted: string | undefined): string | undefined {
  if (own !== undefined && wanted !== undefined && wanted !== own) throw notFound("Tenant");
  return own ?? wanted;
}

/** Throws BAD_REQUEST for permissions that no cell declares. */
function knownPermissions(given: readonly string[], { grantable }: RolePermissions): Permission[] {
  const unknown = given.flatMap((permission, index) =>
    (grantable as readonly string[]).includes(permission)
      ? []
      : [{ path: `permissions.${index}`, code: "INVALID_ENUM", message: `must be one of ${grantable.join(", ")}` }],
  );
  if (unknown.length > 0) throw badFields(unknown);
  return given as Permission[];
}

function grantOf(
  { userId, role, permissions, actAs }: Pick<keys.StoredKey, "userId" | "role" | "permissions" | "actAs">,
  rolePermissions: RolePermissions,
): Grant {
  return { userId, permissions: permissions ?? rolePermissions.of(role), scope: roles[role].scope, actAs };
}

function newSecret(env: string) {
  const key = `crm_${env}_${randomBytes(24).toString("base64url")}`;
  const columns = { keyId: uuid(), secretHash: hashToken(key), prefix: key.slice(0, `crm_${env}_`.length + 6), env };
  return { key, columns };
}

function isEnded({ revokedAt, expiresAt }: keys.StoredKey): boolean {
  return revokedAt !== null || (expiresAt !== null && Date.parse(expiresAt) <= Date.now());
}

function renewedExpiry({ createdAt, expiresAt }: keys.StoredKey): string | null {
  if (expiresAt === null) return null;
  return new Date(Math.min(Date.now() + Date.parse(expiresAt) - Date.parse(createdAt), lastExpiryMs)).toISOString();
}

function published(key: keys.StoredKey, permissions: RolePermissions): Key {
  return { ...key, actAs: actsForOthers(key), permissions: [...(key.permissions ?? permissions.of(key.role))] };
}
