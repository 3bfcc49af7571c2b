import { hash } from "node:crypto";
import type { KeptAnswer, Tenant } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { LRUCache } from "lru-cache";
import { canonicalJson } from "./body.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import type { Clearance } from "./masking.ts";

/** How long an answer is kept. */
export const keptForMs = 24 * 60 * 60 * 1000;
export const conflictText = "This X-Request-ID has already been processed";

/** A command's answer: unmasked, as it was kept or would be. */
export interface CommandAnswer<Row extends object> {
  status: number;
  readonly body: Row;
  replayed: boolean;
  /** Of a replay out of memory: how it was written last. */
  written?: Written;
}

/** An answer as it was written for a clearance, for who writes it again. */
export interface Written {
  clearance?: Clearance;
  headers?: Readonly<Record<string, string>>;
  /** In Latin-1, byte for byte. */
  text?: string;
}

/** By what a request is known again: its key in its scope, and what it asks. */
export interface Identity {
  key: Buffer;
  fingerprint: Buffer;
}

/** An answer in memory. */
interface KeptHere {
  tenant: Tenant;
  kept: KeptAnswer;
  /** The digest of the body's bytes, of a request without a query: the same ones need not be parsed to be known for the same. */
  sent: Buffer | undefined;
  written: Written;
}

/** Answers as they were kept, for repeats that come soon: what was committed under a key stays so for its day. Together some 32 MB at most. */
const answers = new LRUCache<string, KeptHere>({
  maxSize: 16 * 1024 * 1024,
  maxEntrySize: 64 * 1024,
  // The text, and the one that is written.
  sizeCalculation: ({ kept }) => 2 * kept.body.length + 768,
});

/** The caller's key in its scope: its tenant, whose table holds it, the caller, the method and the path. */
export function keyOf({ context: { req }, caller }: Call, key: string): Buffer {
  return hash("sha256", [caller.userId, req.method, pathOf(req), key].join("\0"), "buffer");
}

/** What a request asks. Throws what is wrong with its body. */
export function fingerprintOf({ context: { req }, body }: Call, bodyDigest: string | undefined): Buffer {
  const query = req.url.split("?")[1] ?? "";
  return hash("sha256", [req.method, pathOf(req), query, bodyDigest ?? canonicalJson(body ?? null)].join("\0"), "buffer");
}

function pathOf({ path }: { path: string }): string {
  return path.replace(/\/+$/, "");
}

function sentOf({ context: { env }, bytes }: Call): Buffer | undefined {
  return bytes && !env.incoming.url?.includes("?") ? hash("sha256", bytes, "buffer") : undefined;
}

/** A key's name in this process. */
export function nameOf({ tenant }: Call, key: Buffer): string {
  return `${tenant.tenantId} ${key.toString("latin1")}`;
}

/**
 * The answer to a repeat as it is in memory; undefined where there is none. A body of other bytes may ask the same: `identity` then tells.
 * Throws IDEMPOTENT_CONFLICT where it asks something else.
 */
export function findHere(call: Call, key: Buffer, identity: () => Identity): { kept: KeptAnswer; written: Written } | undefined {
  const known = answers.get(nameOf(call, key));
  if (known?.tenant !== call.tenant || !isKept(known.kept)) return undefined;
  if (!(known.sent && sentOf(call)?.equals(known.sent))) assertSameRequest(known.kept, identity());
  return known;
}

/** Keeps an answer in memory too. */
export function keepHere(call: Call, key: Buffer, kept: KeptAnswer): void {
  answers.set(nameOf(call, key), { tenant: call.tenant, kept, sent: sentOf(call), written: {} });
}

/** Whether the day of a kept answer lasts. */
export function isKept({ createdAt }: KeptAnswer): boolean {
  return Date.now() - Date.parse(createdAt) < keptForMs;
}

/** Throws IDEMPOTENT_CONFLICT where a repeat asks something else than the request whose answer is kept. */
export function assertSameRequest(kept: KeptAnswer, identity: Identity): void {
  if (identity.fingerprint.equals(kept.fingerprint)) return;
  throw new Problem("IDEMPOTENT_CONFLICT", `${conflictText} with another payload; a new request needs a new id`, {
    details: { reason: "PAYLOAD_MISMATCH" },
  });
}

/**
 * The answer to a repeat, for a caller who may see less than when it sent the first one. Throws IDEMPOTENT_CONFLICT where repeats are
 * refused, and NOT_FOUND where the record is out of the caller's sight by now, as a read of it would.
 */
export async function replay<Row extends object>(
  call: Call,
  { rejectRepeats, sight }: { rejectRepeats: boolean; sight: Endpoint["sight"] },
  kept: KeptAnswer,
  written: Written = {},
): Promise<CommandAnswer<Row>> {
  const { resourceId } = kept;
  const owned = resourceId !== null && sight !== undefined && sight !== "everyone" ? sight : undefined;
  const isSeen = !owned || (await owned.covers(call, resourceId as string));
  if (rejectRepeats) {
    const details = { reason: "ALREADY_PROCESSED", resourceId: isSeen ? resourceId : null };
    throw new Problem("IDEMPOTENT_CONFLICT", conflictText, { details });
  }
  if (!isSeen) throw notFound(owned?.title ?? "Record");
  return {
    status: kept.status,
    get body() {
      return JSON.parse(kept.body) as Row;
    },
    replayed: true,
    written,
  };
}
