import { hash } from "node:crypto";
import type { Logger } from "@cell/http";
import { sql } from "kysely";
import type { ControlDb } from "../control-plane/tables.ts";
import { type Access, quotaPart, tenantPart } from "./access.ts";
import { AuthenticationError } from "./authentication-error.ts";
import type { CredentialVerifier } from "./credentials.ts";
import { actsForOthers, type RolePermissions, roles } from "./roles.ts";

/** The form of every key issued here; the middle part is `KEY_ENVIRONMENT`. */
const keyPattern = /^crm_[a-z0-9]{1,12}_[A-Za-z0-9_-]{32}$/;

/** SHA-256 of a token, which is all that is stored of it. */
export function hashToken(token: string): Buffer {
  return hash("sha256", token, "buffer");
}

/** Verifies API keys by the control plane. */
export class ApiKeys implements CredentialVerifier {
  readonly credential = "key";
  readonly #db: ControlDb;
  readonly #permissions: RolePermissions;
  readonly #log: Logger;

  constructor(db: ControlDb, permissions: RolePermissions, log: Logger) {
    this.#db = db;
    this.#permissions = permissions;
    this.#log = log;
  }

  recognises(token: string): boolean {
    return keyPattern.test(token);
  }

  /** The rights of the key with this hash. Rejects with an AuthenticationError, or with the database's error. */
  async verify(_token: string, secretHash: Buffer): Promise<Access> {
    const rows = await this.#find(secretHash);
    const [key] = rows;
    const expiresAtMs = key?.expiresAt ? Date.parse(key.expiresAt) : Number.POSITIVE_INFINITY;
    if (!key || key.revokedAt !== null || expiresAtMs <= Date.now())
      throw new AuthenticationError("This key is unknown, expired or revoked", { cacheable: true });
    this.#touch(key.keyId);
    const role = roles[key.role];
    return {
      operator: false,
      credential: "key",
      tokenId: key.keyId,
      principal: {
        tenantId: key.tenantId,
        userId: key.userId,
        actorType: role.actorType,
        permissions: key.permissions ?? this.#permissions.of(key.role),
        scope: role.scope,
        credential: "key",
        ...quotaPart(rows),
      },
      actAs: actsForOthers(key),
      ...tenantPart(rows),
      expiresAtMs,
    };
  }

  /** The key: one row for each cell that its tenant is placed in. */
  #find(secretHash: Buffer) {
    return this.#db
      .selectFrom("gateway.apiKeys as key")
      .innerJoin("gateway.tenants as tenant", "tenant.tenantId", "key.tenantId")
      .leftJoin("gateway.placements as placement", (join) =>
        join.onRef("placement.tenantId", "=", "key.tenantId").on("placement.provisioned", "=", true),
      )
      .leftJoin("gateway.partitions as partition", (join) =>
        join.onRef("partition.cell", "=", "placement.cell").onRef("partition.partition", "=", "placement.partition"),
      )
      .where("key.secretHash", "=", secretHash)
      .select(["key.keyId", "key.tenantId", "key.userId", "key.role", "key.permissions", "key.actAs", "key.expiresAt", "key.revokedAt"])
      .select(["tenant.status", "tenant.rateLimit", "tenant.quotaBytes", "partition.cell", "partition.url"])
      .execute();
  }

  /** Records the use of a key in the background, at most once a minute. */
  #touch(keyId: string): void {
    this.#db
      .updateTable("gateway.apiKeys")
      .set({ lastUsedAt: sql`now()` })
      .where("keyId", "=", keyId)
      .where((row) => row.or([row("lastUsedAt", "is", null), row("lastUsedAt", "<", sql<string>`now() - interval '1 minute'`)]))
      .execute()
      .catch((error) => this.#log.warn({ err: error, keyId }, "the use of a key was not recorded"));
  }
}
