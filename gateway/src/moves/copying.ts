import type { Readable } from "node:stream";
import { json as readJson, text } from "node:stream/consumers";
import type { BringMode, Digest, SequenceState } from "@cell/postgres";
import { readTransfer } from "@cell/postgres/transfer/read";
import type { CellClient, PartitionAddress } from "../upstream/cell-client.ts";

/** A tenant on one partition, and the epoch of its steps. */
export interface Place {
  partition: PartitionAddress;
  tenantId: string;
  epoch: number;
}

/** Result of verifying the audit trail. */
export interface TrailCheck {
  ok: boolean;
  checked: number;
}

/** Size of a part of the rows: neither side holds more in memory. */
const partBytes = 4 * 1024 * 1024;

/** Sends a step to a cell; resolves to its response. Rejects with the cell's problem, or UNAVAILABLE. */
export async function step<T = unknown>(
  cells: CellClient,
  { partition, tenantId, epoch }: Place,
  name: string,
  json: object = {},
): Promise<T> {
  const response = await cells.ask(partition, tenantId, { method: "POST", path: `${name}?epoch=${epoch}`, json });
  return (await readJson(response)) as T;
}

/** Counts and checksums; with `since`, the checksums of rows written since that snapshot. */
export function digest(cells: CellClient, place: Place, since?: string): Promise<Digest> {
  return inspect(cells, place, since === undefined ? "digest" : `digest?since=${since}`);
}

/** Version of the tenant's schema. */
export async function versionOf(cells: CellClient, place: Place): Promise<number> {
  return (await inspect<{ version: number }>(cells, place, "placement")).version;
}

/** Verifies the audit trail in its place. */
export function verifyTrail(cells: CellClient, place: Place): Promise<TrailCheck> {
  return inspect(cells, place, "trail");
}

async function inspect<T>(cells: CellClient, { partition, tenantId }: Place, path: string): Promise<T> {
  return (await readJson(await cells.ask(partition, tenantId, { method: "GET", path }))) as T;
}

/** The tenant's rows, parsed by `readTransfer`. */
export function rowsOf(
  cells: CellClient,
  { partition, tenantId }: Place,
  query: { since?: string; tables?: string; digest?: string },
): Promise<Readable> {
  return cells.ask(partition, tenantId, { method: "GET", path: `rows?${new URLSearchParams(query)}` });
}

/** Loads rows of one table at the target. */
export async function load(
  cells: CellClient,
  { partition, tenantId, epoch }: Place,
  part: { table: string; columns: readonly string[]; mode: BringMode; rows: Buffer },
): Promise<void> {
  const { table, columns, mode, rows } = part;
  const query = new URLSearchParams({ epoch: String(epoch), table, columns: columns.join(","), mode });
  await text(await cells.ask(partition, tenantId, { method: "POST", path: `rows?${query}`, body: rows }));
}

export interface Copied {
  /** Everything before this transaction is copied. */
  snapshot: string;
  sequences: SequenceState[];
  /** If requested: the digest of all rows at the same snapshot. */
  digest: Digest | null;
}

export interface CopyOptions {
  /** Only rows written since that snapshot, which replace existing ones. */
  since?: string;
  /** Only these tables, whose existing rows are replaced. */
  tables?: string[];
  digest?: boolean;
  /** Called with the number of further copied rows. */
  copied(rows: number): void;
}

const newline = 0x0a;

/** Copies a tenant's rows between partitions; reads the next piece while the previous one is written. */
export async function copyRows(cells: CellClient, from: Place, to: Place, options: CopyOptions): Promise<Copied> {
  const { since, tables, copied } = options;
  const result: Copied = { snapshot: "", sequences: [], digest: null };
  const begun = new Set<string>();
  let sending: Promise<void> = Promise.resolve();
  const query = { ...(since ? { since } : {}), ...(tables ? { tables: tables.join(",") } : {}), digest: String(options.digest ?? false) };
  const body = await rowsOf(cells, from, query);
  try {
    for await (const piece of readTransfer(body, partBytes)) {
      if (piece.kind === "head") result.snapshot = piece.head.snapshot;
      else if (piece.kind === "end") Object.assign(result, piece.end);
      else {
        await sending;
        const mode: BringMode = since ? "merge" : tables && !begun.has(piece.table) ? "replace" : "copy";
        begun.add(piece.table);
        sending = load(cells, to, { ...piece, mode }).then(() => copied(countLines(piece.rows)));
        // Awaited with the next piece; a rejection before that must not be unhandled.
        sending.catch(() => undefined);
      }
    }
    await sending;
  } finally {
    body.destroy();
  }
  return result;
}

function countLines(rows: Buffer): number {
  let lines = 0;
  for (let at = rows.indexOf(newline); at >= 0; at = rows.indexOf(newline, at + 1)) lines++;
  return lines;
}
