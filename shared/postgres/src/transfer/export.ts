import type pg from "pg";
import { CopyOut } from "../driver/copy.ts";
import { type Digest, digestOf } from "./digest.ts";
import { columnList, qualified, type SequenceState, sequencesOf, snapshotOf, tablesOf, writtenSince } from "./tables.ts";

/** The first line of a transfer. */
export interface TransferHead {
  format: typeof transferFormat;
  cell: string;
  tenantId: string;
  /** Number of migrations that the schema has had. */
  version: number;
  /** Every transaction before this one is included; the next transfer may ask for later ones. */
  snapshot: string;
  /** RFC 3339 */
  takenAt: string;
}

/** The last line of a transfer. */
export interface TransferEnd {
  sequences: SequenceState[];
  /** In whole transfers: the digest of all rows. */
  digest: Digest | null;
}

export const transferFormat = "cell tenant 1";
const endOfRows = Buffer.from("\\.\n");

export interface TransferOptions {
  tenantId: string;
  schema: string;
  cell: string;
  version: number;
  /** Only rows written by this transaction or a later one. */
  since: string | undefined;
  /** Only these tables; default: all. */
  tables: readonly string[] | undefined;
  digest: boolean;
}

/**
 * A tenant's rows from one snapshot, as lines: a TransferHead in JSON; for each table `{"table","columns"}` in JSON, its rows in COPY's
 * text format, and `\.`; a TransferEnd in JSON. Reads no faster than the consumer, so that memory stays bounded. Rejects with the
 * database's error.
 */
export async function* exportRows(client: pg.Client, options: TransferOptions): AsyncGenerator<Buffer> {
  const { tenantId, schema, cell, version, since, digest } = options;
  await client.query("begin transaction isolation level repeatable read read only");
  const takenAt = new Date().toISOString();
  yield line({ format: transferFormat, cell, tenantId, version, snapshot: await snapshotOf(client), takenAt } satisfies TransferHead);
  const written = since === undefined ? "" : ` where ${writtenSince(since)}`;
  for (const { table, columns } of await tablesOf(client, schema)) {
    if (options.tables && !options.tables.includes(table)) continue;
    yield line({ table, columns });
    yield* copyOut(client, `select ${columnList(columns)} from ${qualified(schema, table)}${written}`);
    yield endOfRows;
  }
  const end: TransferEnd = {
    sequences: await sequencesOf(client, schema),
    digest: digest ? await digestOf(client, schema, version) : null,
  };
  yield line(end);
  await client.query("commit");
}

async function* copyOut(client: pg.Client, query: string): AsyncGenerator<Buffer> {
  const copied = client.query(new CopyOut(query));
  for (let rows = await copied.read(); rows; rows = await copied.read()) yield Buffer.from(rows);
}

function line(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
