import { randomBytes } from "node:crypto";
import { insufficientScope, type Permission, type Principal } from "@cell/http";
import { badField, badFields, notFound, Problem } from "@cell/problem";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { v7 as uuid } from "uuid";
import { hashToken } from "../../auth/api-keys.ts";
import { actsForOthers, type RolePermissions, roles } from "../../auth/roles.ts";
import { change } from "../../control-plane/tables.ts";
import type { Services } from "../../services.ts";
import { administeredTenant, auditedTenant, type GatewayEnv, type Grant, requireHeld } from "../access.ts";
import { pageQuery, problems, response, security, tenantIdSchema } from "../openapi.ts";
import * as tenants from "../tenants/repository.ts";
import * as keys from "./repository.ts";
import { issuedKeySchema, type Key, keyCreateSchema, keyListSchema, keyRevokedSchema, keyRotateSchema } from "./schema.ts";

const tags = ["Keys"];
/** A later time would have a year that RFC 3339 cannot write, in some timezone. */
const lastExpiryMs = Date.parse("9998-12-31T23:59:59.999Z");

const params = z.object({ keyId: z.uuid().toLowerCase().describe("The key's id") });

const createKey = createRoute({
  method: "post",
  path: "/api/admin/keys",
  tags,
  security,
  summary: "Issue a key",
  description:
    "For the operator in any tenant; for callers with tenant:admin in their own. Nobody can grant a permission that they do not hold. A key of  " +
    "a role limited to its own records (sales) cannot act for others, and only grants keys of its own user.",
  request: { body: { required: true, content: { "application/json": { schema: keyCreateSchema } } } },
  responses: { 201: response("The key; its secret is shown this once", issuedKeySchema), ...problems(404) },
});

const listKeys = createRoute({
  method: "get",
  path: "/api/admin/keys",
  tags,
  security,
  summary: "List the keys",
  description:
    "The operator sees the keys of all tenants; callers with tenant:admin or audit:read those of their own. Secrets are never shown.  " +
    "A key of a role limited to its own records (sales) only lists and revokes keys of its own user.",
  request: { query: z.strictObject({ ...pageQuery, tenantId: tenantIdSchema.optional() }) },
  responses: { 200: response("A page of keys, newest first", keyListSchema), ...problems(404) },
});

const rotateKey = createRoute({
  method: "post",
  path: "/api/admin/keys/{keyId}/rotate",
  tags,
  security,
  summary: "Replace a key",
  description: "The new key has the same rights and the same lifetime; the old one expires after the grace period.",
  request: { params, body: { required: false, content: { "application/json": { schema: keyRotateSchema } } } },
  responses: { 201: response("The new key; its secret is shown this once", issuedKeySchema), ...problems(404, 409) },
});

const revokeKey = createRoute({
  method: "delete",
  path: "/api/admin/keys/{keyId}",
  operationId: "keys.revoke",
  tags,
  security,
  summary: "Revoke a key",
  description: "Every gateway rejects the key within 5 seconds.",
  request: { params },
  responses: { 200: response("The key is revoked", keyRevokedSchema), ...problems(404) },
});

/** The lifecycle of keys: for the operator, and for a tenant's administrators within their tenant. */
export function registerKeys(app: OpenAPIHono<GatewayEnv>, { config, db, permissions, changed }: Services): void {
  app.openapi(createKey, async (c) => {
    const own = administeredTenant(c);
    const body = c.req.valid("json");
    const tenantId = targetTenant(own, body.tenantId);
    if (tenantId === undefined) throw badField("tenantId", "REQUIRED", "is required: the tenant of the key");
    const expiresAt = body.expiresAt ?? null;
    if (expiresAt !== null && Date.parse(expiresAt) <= Date.now()) throw badField("expiresAt", "OUT_OF_RANGE", "must be in the future");
    if (expiresAt !== null && Date.parse(expiresAt) > lastExpiryMs)
      throw badField("expiresAt", "OUT_OF_RANGE", "must be before the year 9999");
    const given = body.permissions === undefined ? null : knownPermissions(body.permissions, permissions);
    requireHeld(c.var.access.principal, grantOf({ ...body, permissions: given }, permissions));
    if (body.actAs && !actsForOthers(body))
      throw badField(
        "actAs",
        "NOT_SUPPORTED",
        `must be false: a key of the role ${body.role} is limited to its own user's records and cannot act for others`,
      );
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
    return c.json({ ...published(stored, permissions), key: secret.key }, 201);
  });

  app.openapi(listKeys, async (c) => {
    const own = auditedTenant(c);
    const { page, pageSize, tenantId } = c.req.valid("query");
    await tenants.requireTenant(db, tenantId);
    const of = { tenantId: targetTenant(own, tenantId), userId: ownUser(c.var.access.principal) };
    const { data, total } = await keys.list(db, of, page, pageSize);
    return c.json({ data: data.map((key) => published(key, permissions)), total, page, pageSize }, 200);
  });

  app.openapi(rotateKey, async (c) => {
    const own = administeredTenant(c);
    const { keyId } = c.req.valid("param");
    // A missing body means the default.
    const { graceSeconds } = keyRotateSchema.parse(c.req.valid("json") ?? {});
    const secret = newSecret(config.keyEnvironment);
    const stored = await change(db, async (tx) => {
      const old = await keys.lock(tx, keyId, own);
      if (!old) throw notFound("Key");
      if (isEnded(old)) throw new Problem("CONFLICT", "This key has expired; issue a new one");
      requireHeld(c.var.access.principal, grantOf(old, permissions));
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
    return c.json({ ...published(stored, permissions), key: secret.key }, 201);
  });

  app.openapi(revokeKey, async (c) => {
    const own = administeredTenant(c);
    const { keyId } = c.req.valid("param");
    await change(db, async (tx) => {
      const key = await keys.lock(tx, keyId, own);
      if (!key) throw notFound("Key");
      const user = ownUser(c.var.access.principal);
      if (user !== undefined && key.userId !== user) throw insufficientScope("You can only revoke keys of your own user");
      await keys.revoke(tx, keyId);
    });
    changed();
    return c.json({ keyId, revoked: true as const }, 200);
  });
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
