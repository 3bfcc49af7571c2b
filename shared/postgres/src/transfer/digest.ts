import type pg from "pg";
import { columnList, qualified, type SequenceState, sequencesOf, snapshotOf, tablesOf, writtenSince } from "./tables.ts";

/** Counts and checksums of a tenant's data: equal digests mean equal rows. */
export interface Digest {
  /** Number of migrations that its schema has had. */
  version: number;
  /** Every transaction before this one is included; the next digest may ask for later ones. */
  snapshot: string;
  tables: { table: string; rows: number; checksum: string }[];
  sequences: SequenceState[];
}

/**
 * Counts and checksums over all tables, as the client's transaction sees them. With `since`, the counts are of all rows and the checksums
 * only of those written by that transaction or a later one.
 */
export async function digestOf(client: pg.ClientBase, schema: string, version: number, since?: string): Promise<Digest> {
  const tables: Digest["tables"] = [];
  const written = since === undefined ? "" : `filter (where ${writtenSince(since)})`;
  for (const { table, columns } of await tablesOf(client, schema)) {
    // A sum, so that the order of the rows does not matter; md5, because it is the same in every version of the server.
    const { rows } = await client.query<{ rows: number; checksum: string }>(
      `select count(*)::int as rows, coalesce(sum(('x' || left(md5(row(${columnList(columns)})::text), 16))::bit(64)::bigint::numeric) ${written}, 0)::text as checksum
       from ${qualified(schema, table)}`,
    );
    const [row] = rows;
    if (row) tables.push({ table, ...row });
  }
  return { version, snapshot: await snapshotOf(client), tables, sequences: await sequencesOf(client, schema) };
}

/** The tables that differ. */
export function differingTables(a: Digest, b: Digest): string[] {
  const known = new Map(b.tables.map(({ table, rows, checksum }) => [table, `${rows} ${checksum}`]));
  const names = new Set([...a.tables, ...b.tables].map(({ table }) => table));
  const mine = new Map(a.tables.map(({ table, rows, checksum }) => [table, `${rows} ${checksum}`]));
  return [...names].filter((table) => mine.get(table) !== known.get(table)).sort();
}
