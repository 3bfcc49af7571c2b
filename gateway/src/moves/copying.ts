import type { Readable } from "node:stream";
import { json as readJson, text } from "node:stream/consumers";
import type { BringMode, Digest, SequenceState } from "@cell/postgres";
import { readTransfer } from "@cell/postgres/transfer/read";
import type { CellClient, PartitionAddress } from "../upstream/cell-client.ts";

/** A tenant on one partition, and the number under which its steps are told. */
export interface Place {
  partition: PartitionAddress;
  tenantId: string;
  epoch: number;
}

/** What the audit trail is found to be. */
export interface TrailCheck {
  ok: boolean;
  checked: number;
}

/** A part of the rows is sent in one piece, so that neither side holds more. */
const partBytes = 4 * 1024 * 1024;

/** Tells a cell one step; resolves to what it answers. Rejects with the cell's problem, or UNAVAILABLE. */
export async function step<T = unknown>(
  cells: CellClient,
  { partition, tenantId, epoch }: Place,
  name: string,
  json: object = {},
): Promise<T> {
  const response = await cells.ask(partition, tenantId, { method: "POST", path: `${name}?epoch=${epoch}`, json });
  return (await readJson(response)) as T;
}

/** Counts and checksums; with `since` the checksums of what came since that snapshot. */
export function digest(cells: CellClient, place: Place, since?: string): Promise<Digest> {
  return inspect(cells, place, since === undefined ? "digest" : `digest?since=${since}`);
}

/** Which version the tenant's schema has. */
export async function versionOf(cells: CellClient, place: Place): Promise<number> {
  return (await inspect<{ version: number }>(cells, place, "placement")).version;
}

/** Verifies the audit trail where it is. */
export function verifyTrail(cells: CellClient, place: Place): Promise<TrailCheck> {
  return inspect(cells, place, "trail");
}

async function inspect<T>(cells: CellClient, { partition, tenantId }: Place, path: string): Promise<T> {
  return (await readJson(await cells.ask(partition, tenantId, { method: "GET", path }))) as T;
}

/** The tenant's rows as `readTransfer` reads them. */
export function rowsOf(
  cells: CellClient,
  { partition, tenantId }: Place,
  query: { since?: string; tables?: string; digest?: string },
): Promise<Readable> {
  return cells.ask(partition, tenantId, { method: "GET", path: `rows?${new URLSearchParams(query)}` });
}

/** Rows of one table to where the tenant arrives. */
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
  /** Where it was asked for: what all rows come to, at the same moment. */
  digest: Digest | null;
}

export interface CopyOptions {
  /** Only what came since that snapshot; it replaces what is there. */
  since?: string;
  /** These tables alone, instead of what is there of them. */
  tables?: string[];
  digest?: boolean;
  /** Told how many rows went over, some at a time. */
  copied(rows: number): void;
}

const newline = 0x0a;

/** Copies a tenant's rows from one partition to another; what is read next waits in memory while the last piece is written. */
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
        // Awaited with the next piece; until then its failure is nobody's.
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
