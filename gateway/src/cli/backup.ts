import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import type { TransferHead } from "@cell/postgres";
import { readTransfer } from "@cell/postgres/transfer/read";
import type { Tenant } from "../admin/tenants/schema.ts";
import { CallError, type Client } from "./client.ts";
import { allPages } from "./tenants.ts";

/** Files are Zstandard over the lines that the gateway sends. */
const suffix = ".tenant.zst";
const partBytes = 4 * 1024 * 1024;
const patienceMs = 30 * 60_000;

export interface BackupOptions {
  cell: string;
  to?: string;
  partition?: string;
}

/** Writes one tenant to a file, or all of a partition to a folder; a file appears when it is whole. */
export async function backup(client: Client, tenantId: string | undefined, { cell, to, partition }: BackupOptions): Promise<void> {
  if ((tenantId === undefined) === (partition === undefined)) throw new CallError("Name a tenant, or --partition <name>");
  if (tenantId !== undefined) return backupTenant(client, tenantId, cell, to ?? `${tenantId}${suffix}`);
  const folder = to ?? ".";
  await mkdir(folder, { recursive: true });
  const tenants = await allPages<Tenant>(client, "/api/admin/tenants", {});
  for (const tenant of tenants.filter(({ placements }) => placements.some((place) => place.partition === partition)))
    await backupTenant(client, tenant.tenantId, cell, join(folder, `${tenant.tenantId}${suffix}`));
}

async function backupTenant(client: Client, tenantId: string, cell: string, file: string): Promise<void> {
  const path = `/api/admin/tenants/${encodeURIComponent(tenantId)}/backup`;
  const { body } = await client.stream({ path, query: { cell }, patienceMs });
  const partial = `${file}.part`;
  try {
    await pipeline(body, createZstdCompress(), createWriteStream(partial, { mode: 0o600 }));
    const rows = await countRows(partial);
    await rename(partial, file);
    console.log(`${tenantId}: ${rows} rows are in ${file}.`);
  } catch (error) {
    await rm(partial, { force: true });
    throw new CallError(`The backup of ${tenantId} broke off: ${(error as Error).message}`, { cause: error });
  }
}

/** Reads a backup to its end, which says what must be in it. */
async function countRows(file: string): Promise<number> {
  for await (const piece of readTransfer(lines(file), partBytes)) {
    if (piece.kind === "end") return piece.end.digest?.tables.reduce((sum, { rows }) => sum + rows, 0) ?? 0;
  }
  return 0;
}

function lines(file: string): Readable {
  const decompress = createZstdDecompress();
  // The reader of the lines is told of a file that cannot be read.
  createReadStream(file)
    .on("error", (error) => decompress.destroy(error))
    .pipe(decompress);
  return decompress;
}

/** Brings backups back into a cell that does not have their tenants. Rejects with a CallError at the first that fails. */
export async function restore(client: Client, files: readonly string[], options: { as?: string }): Promise<void> {
  for (const file of files) await restoreFile(client, file, options.as);
}

async function restoreFile(client: Client, file: string, as: string | undefined): Promise<void> {
  let head: TransferHead | undefined;
  let epoch = "";
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
        const done = await client.json<{ rows: number; auditEntries: number }>({
          path: `${pathOf(head)}/restore/finish`,
          json,
          patienceMs,
        });
        console.log(`${head.tenantId}: ${done.rows} rows of ${head.takenAt} are restored; ${done.auditEntries} audit entries verify.`);
        console.log("Its keys are not in a backup: crm key issue makes new ones where they are gone.");
      }
    }
  } catch (error) {
    if (error instanceof CallError) throw error;
    throw new CallError(`${basename(file)}: ${(error as Error).message}`, { cause: error });
  }
}

function requireSame(tenantId: string, as: string | undefined): void {
  if (as !== undefined && as !== tenantId)
    throw new CallError(`The backup is of ${tenantId}, and its audit seals say so: it cannot be restored as ${as}`);
}

function pathOf({ tenantId }: TransferHead): string {
  return `/api/admin/tenants/${encodeURIComponent(tenantId)}`;
}
