import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import type { TransferHead } from "@cell/postgres";
import { readTransfer } from "@cell/postgres/transfer/read";
import type { Tenant } from "../admin/tenants/schema.ts";
import { ApiError, type Client } from "./client.ts";
import { type CommandResult, PartialFailure } from "./output.ts";
import { allPages } from "./tenants.ts";

/** Files are the gateway's lines, compressed by Zstandard. */
const suffix = ".tenant.zst";
const partBytes = 4 * 1024 * 1024;
const patienceMs = 30 * 60_000;

export interface BackupOptions {
  cell: string;
  to?: string;
  partition?: string;
}

/** A tenant that was written to a file. */
interface BackedUp {
  tenantId: string;
  file: string;
  rows: number;
}

/** Writes one tenant to a file, or all tenants of a partition to a folder; a file appears once it is complete. */
export async function backup(client: Client, tenantId: string | undefined, { cell, to, partition }: BackupOptions): Promise<CommandResult> {
  if ((tenantId === undefined) === (partition === undefined)) throw new ApiError("Name a tenant, or --partition <name>");
  if (tenantId !== undefined) return backedUp([await backupTenant(client, tenantId, cell, to ?? `${tenantId}${suffix}`)]);
  const folder = to ?? ".";
  await mkdir(folder, { recursive: true });
  const tenants = await allPages<Tenant>(client, "/api/admin/tenants", {});
  const placed = tenants.filter(({ placements }) => placements.some((place) => place.partition === partition));
  // Without a file, a mistyped name would look like a backup.
  if (placed.length === 0) throw new ApiError(`No tenant is on the partition ${partition}: nothing was backed up`);
  return eachOf(placed, (tenant) => backupTenant(client, tenant.tenantId, cell, join(folder, `${tenant.tenantId}${suffix}`)), backedUp);
}

function backedUp(done: readonly BackedUp[]): CommandResult {
  const show = () => {
    for (const { tenantId, rows, file } of done) console.log(`${tenantId}: ${rows} rows are in ${file}.`);
  };
  return { data: done, show };
}

/** Processes the items in sequence. Rejects with a PartialFailure at the first failure. */
async function eachOf<T, Done>(
  items: readonly T[],
  work: (item: T) => Promise<Done>,
  resultOf: (done: readonly Done[]) => CommandResult,
): Promise<CommandResult> {
  const done: Done[] = [];
  for (const item of items) {
    try {
      done.push(await work(item));
    } catch (error) {
      throw new PartialFailure(error, resultOf(done));
    }
  }
  return resultOf(done);
}

async function backupTenant(client: Client, tenantId: string, cell: string, file: string): Promise<BackedUp> {
  const path = `/api/admin/tenants/${encodeURIComponent(tenantId)}/backup`;
  const { body } = await client.stream({ path, query: { cell }, patienceMs });
  const partial = `${file}.part`;
  try {
    await pipeline(body, createZstdCompress(), createWriteStream(partial, { mode: 0o600 }));
    const rows = await countRows(partial);
    await rename(partial, file);
    return { tenantId, file, rows };
  } catch (error) {
    await rm(partial, { force: true });
    throw new ApiError(`The backup of ${tenantId} was interrupted: ${(error as Error).message}`, { cause: error });
  }
}

/** Reads a backup to its end, which states what it must contain. */
async function countRows(file: string): Promise<number> {
  for await (const piece of readTransfer(lines(file), partBytes)) {
    if (piece.kind === "end") return piece.end.digest?.tables.reduce((sum, { rows }) => sum + rows, 0) ?? 0;
  }
  return 0;
}

function lines(file: string): Readable {
  const decompress = createZstdDecompress();
  // The reader of the lines reports a file that cannot be read.
  createReadStream(file)
    .on("error", (error) => decompress.destroy(error))
    .pipe(decompress);
  return decompress;
}

/** A restored tenant. */
interface Restored {
  tenantId: string;
  takenAt: string;
  rows: number;
  auditEntries: number;
}

/** Restores backups into a cell that does not have their tenants. Rejects with a PartialFailure at the first failure. */
export async function restore(client: Client, files: readonly string[], options: { as?: string }): Promise<CommandResult> {
  return eachOf(files, (file) => restoreFile(client, file, options.as), restored);
}

function restored(done: readonly Restored[]): CommandResult {
  const show = () => {
    for (const { tenantId, takenAt, rows, auditEntries } of done) {
      console.log(`${tenantId}: ${rows} rows of ${takenAt} are restored; ${auditEntries} audit entries verify.`);
      console.log("Keys are not in a backup: issue new ones by crm key issue if they are gone.");
    }
  };
  return { data: done, show };
}

async function restoreFile(client: Client, file: string, as: string | undefined): Promise<Restored> {
  let head: TransferHead | undefined;
  let epoch = "";
  let done: { rows: number; auditEntries: number } | undefined;
  try {
    for await (const piece of readTransfer(lines(file), partBytes)) {
      if (piece.kind === "head") {
        head = piece.head;
        requireSame(head.tenantId, as);
        const { epoch: given } = await client.json<{ epoch: number }>({
          path: `${pathOf(head)}/restore`,
          json: { cell: head.cell, name: head.tenantId, version: head.version },
        });
        epoch = String(given);
      } else if (head && piece.kind === "rows") {
        const { table, columns, rows } = piece;
        const query = { cell: head.cell, epoch, table, columns: columns.join(",") };
        const headers = { "content-type": "application/octet-stream" };
        await client.json({ path: `${pathOf(head)}/restore/rows`, query, headers, body: rows, method: "POST" });
      } else if (head && piece.kind === "end") {
        const { sequences, digest } = piece.end;
        const json = { cell: head.cell, epoch: Number(epoch), sequences, digest };
        done = await client.json({ path: `${pathOf(head)}/restore/finish`, json, patienceMs });
      }
    }
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(`${basename(file)}: ${(error as Error).message}`, { cause: error });
  }
  if (!head || !done) throw new ApiError(`${basename(file)} holds no whole backup`);
  return { tenantId: head.tenantId, takenAt: head.takenAt, rows: done.rows, auditEntries: done.auditEntries };
}

function requireSame(tenantId: string, as: string | undefined): void {
  if (as !== undefined && as !== tenantId)
    throw new ApiError(`The backup and its audit seals are of ${tenantId}: it cannot be restored as ${as}`);
}

function pathOf({ tenantId }: TransferHead): string {
  return `/api/admin/tenants/${encodeURIComponent(tenantId)}`;
}
