import { hash } from "node:crypto";
import { type Change, type Parameters, type StoredResponse, statement, type Tenant, type TenantTx, tenantTables } from "@cell/postgres";
import { retentionMs } from "./idempotency.ts";

/** A response of at most this many characters is stored with its key even if nothing changed: a reference is hardly shorter. */
const inlineCharacters = 512;
/** No JSON begins with this character. */
const referenceMark = "@";

interface SharedTables {
  sharedAnswers: { digest: Buffer; body: string; createdAt: string };
}

const db = tenantTables<SharedTables>();

const insertShared = statement((p: Parameters<{ digest: Buffer; body: string; createdAt: string }>) =>
  db
    .insertInto("sharedAnswers")
    .columns(["digest", "body", "createdAt"])
    .expression(db.selectNoFrom([p.digest.as("digest"), p.body.as("body"), p.createdAt.as("createdAt")]))
    .onConflict((conflict) => conflict.doNothing()),
);

const byDigest = statement((p: Parameters<{ digest: Buffer }>) =>
  db.selectFrom("sharedAnswers").select("body").where("digest", "=", p.digest),
);

/** A stored response of requests that changed nothing: equal ones are stored once, for any number of keys. */
export interface SharedResponse {
  /** Stored with the key in place of the response. */
  reference: string;
  change: Change;
}

/**
 * Stores a response for all requests of a period that have the same one; undefined for one that is stored with its key. Its date is the
 * period's end: it outlives every request that refers to it, and is never written again.
 */
export function shareResponse(tx: TenantTx, body: string, now: string): SharedResponse | undefined {
  if (body.length <= inlineCharacters) return undefined;
  const createdAt = new Date((Math.floor(Date.parse(now) / retentionMs) + 1) * retentionMs).toISOString();
  const digest = hash("sha256", `${createdAt}\0${body}`, "buffer");
  return { reference: `${referenceMark}${digest.toString("base64url")}`, change: tx.change(insertShared, { digest, body, createdAt }) };
}

/** A stored response with its body, wherever the body is stored. */
export async function withSharedBody(tenant: Tenant, stored: StoredResponse): Promise<StoredResponse> {
  if (!stored.body.startsWith(referenceMark)) return stored;
  const digest = Buffer.from(stored.body.slice(referenceMark.length), "base64url");
  const shared = await tenant.reader().first(byDigest, { digest });
  if (!shared) throw new Error("a stored response refers to one that is gone");
  return { ...stored, body: shared.body };
}
