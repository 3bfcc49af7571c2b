import { hash } from "node:crypto";
import type { StoredResponse, Tenant } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type { Endpoint, RequestContext } from "../http/endpoint.ts";
import type { FieldAccess } from "../schema/masking.ts";
import { canonicalJson } from "./canonical-json.ts";

/** How long an answer is kept. */
export const retentionMs = 24 * 60 * 60 * 1000;
export const conflictText = "This X-Request-ID has already been processed";

/** A command's answer: unmasked, as it was kept or would be. */
export interface CommandResponse<Row extends object> {
  status: number;
  readonly body: Row;
  replayed: boolean;
  /** Of a replay out of memory: how it was written last. */
  written?: Written;
}

/** An answer as it was written for a clearance, for who writes it again. */
export interface Written {
  fieldAccess?: FieldAccess;
  headers?: Readonly<Record<string, string>>;
  /** In Latin-1, byte for byte. */
  text?: string;
}

/** By what a request is known again: its key in its scope, and what it asks. */
export interface IdempotencyIdentity {
  key: Buffer;
  fingerprint: Buffer;
}

/** An answer in memory. */
interface CachedResponse {
  tenant: Tenant;
  kept: StoredResponse;
  /** The digest of the body's bytes, of a request without a query: the same ones need not be parsed to be known for the same. */
  sent: Buffer | undefined;
  written: Written;
}

/** Answers as they were kept, for repeats that come soon: what was committed under a key stays so for its day. Together some 32 MB at most. */
const cachedResponses = new LRUCache<string, CachedResponse>({
  maxSize: 16 * 1024 * 1024,
  maxEntrySize: 64 * 1024,
  // The text, and the one that is written.
  sizeCalculation: ({ kept: stored }) => 2 * stored.body.length + 768,
});

/** The caller's key in its scope: its tenant, whose table holds it, the caller, the method and the path. */
export function keyOf({ context: { req }, caller }: RequestContext, key: string): Buffer {
  return hash("sha256", [caller.userId, req.method, pathOf(req), key].join("\0"), "buffer");
}

/** What a request asks. Throws what is wrong with its body. */
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

/** A key's name in this process. */
export function nameOf({ tenant }: RequestContext, key: Buffer): string {
  return `${tenant.tenantId} ${key.toString("latin1")}`;
}

/**
 * The answer to a repeat as it is in memory; undefined where there is none. A body of other bytes may ask the same: `identity` then tells.
 * Throws IDEMPOTENT_CONFLICT where it asks something else.
 */
export function findHere(
  context: RequestContext,
  key: Buffer,
  identity: () => IdempotencyIdentity,
): { kept: StoredResponse; written: Written } | undefined {
  const known = cachedResponses.get(nameOf(context, key));
  if (known?.tenant !== context.tenant || !isRetained(known.kept)) return undefined;
  if (!(known.sent && sentOf(context)?.equals(known.sent))) assertSameRequest(known.kept, identity());
  return known;
}

/** Keeps an answer in memory too. */
export function cacheResponse(context: RequestContext, key: Buffer, stored: StoredResponse): void {
  cachedResponses.set(nameOf(context, key), { tenant: context.tenant, kept: stored, sent: sentOf(context), written: {} });
}

/** Whether the day of a kept answer lasts. */
export function isRetained({ createdAt }: StoredResponse): boolean {
  return Date.now() - Date.parse(createdAt) < retentionMs;
}

/** Throws IDEMPOTENT_CONFLICT where a repeat asks something else than the request whose answer is kept. */
export function assertSameRequest(stored: StoredResponse, identity: IdempotencyIdentity): void {
  if (identity.fingerprint.equals(stored.fingerprint)) return;
  throw new Problem("IDEMPOTENT_CONFLICT", `${conflictText} with another payload; a new request needs a new id`, {
    details: { reason: "PAYLOAD_MISMATCH" },
  });
}

/**
 * The answer to a repeat, for a caller who may see less than when it sent the first one. Throws IDEMPOTENT_CONFLICT where repeats are
 * refused, and NOT_FOUND where the record is out of the caller's sight by now, as a read of it would.
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
