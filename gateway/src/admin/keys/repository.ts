import { type Insertable, type Selectable, sql } from "kysely";
import type { ApiKeysTable, ControlDb, ControlTx } from "../../control-plane/tables.ts";

/** A stored key, without the hash of its secret. */
export type StoredKey = Omit<Selectable<ApiKeysTable>, "secretHash">;

const columns = [
  "keyId",
  "tenantId",
  "userId",
  "role",
  "permissions",
  "actAs",
  "name",
  "prefix",
  "env",
  "createdAt",
  "expiresAt",
  "lastUsedAt",
  "revokedAt",
  "rotatedFrom",
] as const;

/** Newest first; of one tenant, or of all; with `userId`, of one user. */
export async function list(
  db: ControlDb,
  { tenantId, userId }: { tenantId: string | undefined; userId: string | undefined },
  page: number,
  pageSize: number,
): Promise<{ data: StoredKey[]; total: number }> {
  let keys = db.selectFrom("gateway.apiKeys");
  if (tenantId !== undefined) keys = keys.where("tenantId", "=", tenantId);
  if (userId !== undefined) keys = keys.where("userId", "=", userId);
  const data = await keys
    .select(columns)
    .orderBy("keyId", "desc")
    .limit(pageSize)
    .offset((page - 1) * pageSize)
    .execute();
  const { total } = await keys.select(sql<number>`count(*)`.as("total")).executeTakeFirstOrThrow();
  return { data, total };
}

/** Rejects with a foreign key violation if there is no such tenant. */
export function insert(tx: ControlTx, key: Insertable<ApiKeysTable>): Promise<StoredKey> {
  return tx.insertInto("gateway.apiKeys").values(key).returning(columns).executeTakeFirstOrThrow();
}

/** The key, locked, if it belongs to the tenant; undefined: any tenant's. */
export function lock(tx: ControlTx, keyId: string, tenantId: string | undefined): Promise<StoredKey | undefined> {
  let keys = tx.selectFrom("gateway.apiKeys").select(columns).where("keyId", "=", keyId).forUpdate();
  if (tenantId !== undefined) keys = keys.where("tenantId", "=", tenantId);
  return keys.executeTakeFirst();
}

/** Makes the key expire at `at`, or at its own expiry if that is earlier. */
export async function expire(tx: ControlTx, keyId: string, at: string): Promise<void> {
  await tx
    .updateTable("gateway.apiKeys")
    .set({ expiresAt: sql`least(expires_at, ${at}::timestamptz)` })
    .where("keyId", "=", keyId)
    .execute();
}

/** Revokes the key now; a revoked one stays unchanged. */
export async function revoke(tx: ControlTx, keyId: string): Promise<void> {
  await tx.updateTable("gateway.apiKeys").set({ revokedAt: sql`coalesce(revoked_at, now())` }).where("keyId", "=", keyId).execute();
}
