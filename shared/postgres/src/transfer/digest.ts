import type pg from "pg";
import { columnList, qualified, type SequenceState, sequencesOf, snapshotOf, tablesOf, writtenSince } from "./tables.ts";

/** What a tenant's data come to: two that are equal hold the same rows. */
export interface Digest {
  /** How many steps its schema has seen. */
  version: number;
  /** Every transaction before this one is in it; the next digest may ask for what came since. */
  snapshot: string;
  tables: { table: string; rows: number; checksum: string }[];
  sequences: SequenceState[];
}

/**
 * Counts and checksums over all tables, as they are in the client's transaction. With `since` the counts are of all rows, and the checksums
 * of those alone that transactions from that one on have written.
 */
export async function digestOf(client: pg.ClientBase, schema: string, version: number, since?: string): Promise<Digest> {
  const tables: Digest["tables"] = [];
  const written = since === undefined ? "" : `filter (where ${writtenSince(since)})`;
  for (const { table, columns } of await tablesOf(client, schema)) {
    // A sum, so that the order of the rows does not matter; md5, since it is the same on every version of the server.
    const { rows } = await client.query<{ rows: number; checksum: string }>(
      `select count(*)::int as rows, coalesce(sum(('x' || left(md5(row(${columnList(columns)})::text), 16))::bit(64)::bigint::numeric) ${written}, 0)::text as checksum
       from ${qualified(schema, table)}`,
    );
    const [row] = rows;
    if (row) tables.push({ table, ...row });
  }
  return { version, snapshot: await snapshotOf(client), tables, sequences: await sequencesOf(client, schema) };
}

/** The tables that are not the same in both. */
export function differingTables(a: Digest, b: Digest): string[] {
  const known = new Map(b.tables.map(({ table, rows, checksum }) => [table, `${rows} ${checksum}`]));
  const names = new Set([...a.tables, ...b.tables].map(({ table }) => table));
  const mine = new Map(a.tables.map(({ table, rows, checksum }) => [table, `${rows} ${checksum}`]));
  return [...names].filter((table) => mine.get(table) !== known.get(table)).sort();
}
