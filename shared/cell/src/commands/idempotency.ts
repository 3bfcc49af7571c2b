import { hash } from "node:crypto";
import type { StoredResponse, Tenant } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type { Endpoint, RequestContext } from "../http/endpoint.ts";
import type { FieldAccess } from "../schema/masking.ts";
import { canonicalJson } from "./canonical-json.ts";

/** Retention of stored responses. */
export const retentionMs = 24 * 60 * 60 * 1000;
export const conflictText = "This X-Request-ID has already been processed";

/** A command's response, unmasked as it is stored. */
export interface CommandResponse<Row extends object> {
  status: number;
  readonly body: Row;
  replayed: boolean;
  /** For a replay from the cache: the serialized response, if it was written before. */
  written?: Written;
}

/** A serialized response for one field access, for further replays. */
export interface Written {
  fieldAccess?: FieldAccess;
  headers?: Readonly<Record<string, string>>;
  /** Latin-1, one character per byte. */
  text?: string;
}

/** Identifies a retry: the scoped idempotency key and a fingerprint of the request. */
export interface IdempotencyIdentity {
  key: Buffer;
  fingerprint: Buffer;
}

/** A stored response in memory. */
interface CachedResponse {
  tenant: Tenant;
  stored: StoredResponse;
  /** Digest of the body's bytes, of a request without a query: a retry with the same bytes need not be parsed. */
  sent: Buffer | undefined;
  written: Written;
}

/** Cache of stored responses for quick retries: a committed response stays valid for its retention. At most about 32 MB. */
const cachedResponses = new LRUCache<string, CachedResponse>({
  maxSize: 16 * 1024 * 1024,
  maxEntrySize: 64 * 1024,
  // The stored text and the serialized one.
  sizeCalculation: ({ stored }) => 2 * stored.body.length + 768,
});

/** The idempotency key in its scope: tenant (by the table), caller, method and path. */
export function keyOf({ context: { req }, caller }: RequestContext, key: string): Buffer {
  return hash("sha256", [caller.userId, req.method, pathOf(req), key].join("\0"), "buffer");
}

/** The fingerprint of a request. Throws the validation errors of its body. */
export function fingerprintOf({ context: { req }, body }: RequestContext, bodyDigest: string | undefined): Buffer {
  const query = req.url.split("?")[1] ?? "";
  return hash("sha256", [req.method, pathOf(req), query, bodyDigest ?? canonicalJson(body ?? null)].join("\0"), "buffer");
}

function pathOf({ path }: { path: string }): string {
  return path.replace(/\/+$/, "");
}

function sentOf({ context: { env }, bytes }: RequestContext): Buffer | undefined {
  return bytes && !env.incoming.url?.includes("?") ? hash("sha256", bytes, "buffer") : undefined;
}

/** Cache key of an idempotency key in this process. */
export function nameOf({ tenant }: RequestContext, key: Buffer): string {
  return `${tenant.tenantId} ${key.toString("latin1")}`;
}

/**
 * The cached response for a retry; undefined if there is none. A body with other bytes may be equal: `identity` then decides. Throws
 * IDEMPOTENT_CONFLICT if the request differs.
 */
export function findHere(
  context: RequestContext,
  key: Buffer,
  identity: () => IdempotencyIdentity,
): { stored: StoredResponse; written: Written } | undefined {
  const known = cachedResponses.get(nameOf(context, key));
  if (known?.tenant !== context.tenant || !isRetained(known.stored)) return undefined;
  if (!(known.sent && sentOf(context)?.equals(known.sent))) assertSameRequest(known.stored, identity());
  return known;
}

/** Adds a stored response to the cache. */
export function cacheResponse(context: RequestContext, key: Buffer, stored: StoredResponse): void {
  cachedResponses.set(nameOf(context, key), { tenant: context.tenant, stored, sent: sentOf(context), written: {} });
}

/** Whether a stored response is within its retention. */
export function isRetained({ createdAt }: StoredResponse): boolean {
  return Date.now() - Date.parse(createdAt) < retentionMs;
}

/** Throws IDEMPOTENT_CONFLICT if a retry differs from the request whose response is stored. */
export function assertSameRequest(stored: StoredResponse, identity: IdempotencyIdentity): void {
  if (identity.fingerprint.equals(stored.fingerprint)) return;
  throw new Problem("IDEMPOTENT_CONFLICT", `${conflictText} with another payload; a new request needs a new id`, {
    details: { reason: "PAYLOAD_MISMATCH" },
  });
}

/**
 * The response to a retry, masked for the caller's current permissions. Throws IDEMPOTENT_CONFLICT if repeats are rejected, and NOT_FOUND
 * if the caller may no longer see the record, as a read would.
 */
export async function replay<Row extends object>(
  context: RequestContext,
  { rejectRepeats, visibility }: { rejectRepeats: boolean; visibility: Endpoint["visibility"] },
  stored: StoredResponse,
  written: Written = {},
): Promise<CommandResponse<Row>> {
  const { resourceId } = stored;
  const owned = resourceId !== null && visibility !== undefined && visibility !== "everyone" ? visibility : undefined;
  const isSeen = !owned || (await owned.covers(context, resourceId as string));
  if (rejectRepeats) {
    const details = { reason: "ALREADY_PROCESSED", resourceId: isSeen ? resourceId : null };
    throw new Problem("IDEMPOTENT_CONFLICT", conflictText, { details });
  }
  if (!isSeen) throw notFound(owned?.title ?? "Record");
  return {
    status: stored.status,
    get body() {
      return JSON.parse(stored.body) as Row;
    },
    replayed: true,
    written,
  };
}
