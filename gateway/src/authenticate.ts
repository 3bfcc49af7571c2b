import { createHash, timingSafeEqual } from "node:crypto";
import type { Logger, Principal } from "@cell/http";
import { badField, Problem, unavailable } from "@cell/problem";
import { sql } from "kysely";
import { type Identity, userIdPattern } from "./identity.ts";
import { grantable, roles } from "./roles.ts";
import type { ControlDb } from "./tables.ts";

/** What a token gives: the verdict on it, kept until `validUntilMs`. */
export interface Access {
  operator: boolean;
  principal: Principal;
  /** May act for other users of its tenant. */
  actAs: boolean;
  suspended: boolean;
  /** Where the tenant's data is: the partition's address by cell. */
  placements: ReadonlyMap<string, string>;
  validUntilMs: number;
  /** The principals of the users that it has acted for. */
  acting: Map<string, Principal>;
}

const verdictLifetimeMs = 60_000;
const verdictLimit = 10_000;
const actingLimit = 1_000;

/** SHA-256 of a token: all that is stored of it. */
export function hashToken(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** Knows tokens: from the control plane, and for up to a minute from memory. Every way of proving who one is goes through here. */
export class Authenticator {
  readonly #db: ControlDb;
  readonly #log: Logger;
  readonly #operator: { hash: Buffer; access: Access } | undefined;
  readonly #verdicts = new Map<string, Access>();
  readonly #loading = new Map<string, Promise<Access>>();
  #generation = 0;

  constructor(db: ControlDb, operatorKey: string | undefined, log: Logger) {
    this.#db = db;
    this.#log = log;
    this.#operator = operatorKey === undefined ? undefined : { hash: hashToken(operatorKey), access: operatorAccess() };
  }

  /** The verdict on a token: at once when it is in memory. Throws or rejects with UNAUTHORIZED, or UNAVAILABLE while it cannot be looked up. */
  authenticate(token: string | undefined): Access | Promise<Access> {
    if (token === undefined) throw new Problem("UNAUTHORIZED", "Send a key: Authorization: Bearer <key>");
    const known = this.#verdicts.get(token);
    if (known !== undefined && known.validUntilMs > Date.now()) return known;
    return this.#load(token);
  }

  /** Drops all verdicts: something in the control plane has changed. */
  forget(): void {
    this.#generation++;
    this.#verdicts.clear();
    this.#loading.clear();
  }

  #load(token: string): Promise<Access> {
    const loading = this.#loading.get(token);
    if (loading) return loading;
    const generation = this.#generation;
    const load = this.#verify(token)
      .then((access) => {
        // What was read before a change must not outlive it.
        if (generation === this.#generation) this.#keep(token, access);
        return access;
      })
      .finally(() => {
        if (this.#loading.get(token) === load) this.#loading.delete(token);
      });
    this.#loading.set(token, load);
    return load;
  }

  #keep(token: string, access: Access): void {
    this.#verdicts.delete(token);
    this.#verdicts.set(token, access);
    const [oldest] = this.#verdicts.keys();
    if (this.#verdicts.size > verdictLimit && oldest !== undefined) this.#verdicts.delete(oldest);
  }

  async #verify(token: string): Promise<Access> {
    const hash = hashToken(token);
    if (this.#operator && timingSafeEqual(hash, this.#operator.hash))
      return { ...this.#operator.access, validUntilMs: Number.POSITIVE_INFINITY };
    const rows = await this.#find(hash).catch((error) => {
      throw unavailable("Keys cannot be checked for a moment; try again", 1, error);
    });
    const [key] = rows;
    const now = Date.now();
    const expiresAtMs = key?.expiresAt ? Date.parse(key.expiresAt) : Number.POSITIVE_INFINITY;
    if (!key || key.revokedAt !== null || expiresAtMs <= now) throw new Problem("UNAUTHORIZED", "This key is unknown, expired or revoked");
    this.#touch(key.keyId);
    const role = roles[key.role];
    return {
      operator: false,
      principal: {
        tenantId: key.tenantId,
        userId: key.userId,
        actorType: role.actorType,
        permissions: key.permissions ?? role.permissions,
        scope: role.scope,
      },
      actAs: key.actAs,
      suspended: key.status === "suspended",
      placements: new Map(rows.flatMap(({ cell, url }) => (cell !== null && url !== null ? [[cell, url]] : []))),
      validUntilMs: Math.min(now + verdictLifetimeMs, expiresAtMs),
      acting: new Map(),
    };
  }

  /** The key, once for each cell that its tenant is placed in. */
  #find(hash: Buffer) {
    return this.#db
      .selectFrom("gateway.apiKeys as key")
      .innerJoin("gateway.tenants as tenant", "tenant.tenantId", "key.tenantId")
      .leftJoin("gateway.placements as placement", (join) =>
        join.onRef("placement.tenantId", "=", "key.tenantId").on("placement.provisioned", "=", true),
      )
      .leftJoin("gateway.partitions as partition", (join) =>
        join.onRef("partition.cell", "=", "placement.cell").onRef("partition.partition", "=", "placement.partition"),
      )
      .where("key.secretHash", "=", hash)
      .select(["key.keyId", "key.tenantId", "key.userId", "key.role", "key.permissions", "key.actAs", "key.expiresAt", "key.revokedAt"])
      .select(["tenant.status", "partition.cell", "partition.url"])
      .execute();
  }

  /** Notes the use of a key, off the request's path and at most once a minute. */
  #touch(keyId: string): void {
    this.#db
      .updateTable("gateway.apiKeys")
      .set({ lastUsedAt: sql`now()` })
      .where("keyId", "=", keyId)
      .where((row) => row.or([row("lastUsedAt", "is", null), row("lastUsedAt", "<", sql<string>`now() - interval '1 minute'`)]))
      .execute()
      .catch((error) => this.#log.warn({ err: error, keyId }, "the use of a key was not noted"));
  }
}

function operatorAccess(): Access {
  return {
    operator: true,
    principal: { tenantId: "", userId: "operator", actorType: "operator", permissions: grantable, scope: "tenant" },
    actAs: false,
    suspended: false,
    placements: new Map(),
    validUntilMs: Number.POSITIVE_INFINITY,
    acting: new Map(),
  };
}

/** Who calls a cell. The headers may only agree with the token: BAD_REQUEST, TENANT_MISMATCH or FORBIDDEN otherwise. */
export function principalOf(access: Access, { tenantId, userId }: Identity): Principal {
  if (tenantId === undefined) throw badField("X-Tenant-Id", "REQUIRED", "send the tenant that the key belongs to");
  if (tenantId !== access.principal.tenantId) throw new Problem("TENANT_MISMATCH", "X-Tenant-Id is not the tenant of this key");
  if (access.suspended) throw new Problem("FORBIDDEN", "This tenant is suspended");
  if (userId === undefined || userId === access.principal.userId) return access.principal;
  if (!access.actAs) throw new Problem("FORBIDDEN", "X-User-Id is not the user of this key, and the key may not act for others");
  return actingFor(access, userId);
}

function actingFor(access: Access, userId: string): Principal {
  const known = access.acting.get(userId);
  if (known) return known;
  if (!userIdPattern.test(userId)) throw badField("X-User-Id", "INVALID_FORMAT", "1 to 128 characters of A-Z a-z 0-9 . _ : @ -");
  const principal: Principal = { ...access.principal, userId, actorType: "service" };
  if (access.acting.size >= actingLimit) access.acting.clear();
  access.acting.set(userId, principal);
  return principal;
}
