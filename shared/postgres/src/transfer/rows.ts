import { Problem } from "@cell/problem";
import type pg from "pg";
import { CopyIn } from "../driver/copy.ts";
import { columnList, findTable, qualified, type TransferTable } from "./tables.ts";

/** How rows are loaded: `copy` adds them, `replace` empties the table first, `merge` replaces the rows with the same keys. */
export const loadModes = ["copy", "replace", "merge"] as const;
export type BringMode = (typeof loadModes)[number];

/** Whole rows of one table in COPY's text format. */
export interface Part {
  table: string;
  columns: string[];
  mode: BringMode;
  rows: Buffer;
}

/**
 * Loads rows into a tenant's schema, inside the owner's transaction. Rejects with the database's error, or BAD_REQUEST for an unknown
 * table.
 */
export async function loadRows(client: pg.ClientBase, schema: string, { table, columns, mode, rows }: Part): Promise<void> {
  const target = await findTable(client, schema, table, columns);
  const name = qualified(schema, table);
  if (mode === "merge") return merge(client, name, target, rows);
  if (mode === "replace") await client.query(`truncate ${name}`);
  await client.query(new CopyIn(`copy ${name} (${columnList(columns)}) from stdin`, rows)).ended;
}

async function merge(client: pg.ClientBase, name: string, { table, columns, key }: TransferTable, rows: Buffer): Promise<void> {
  if (key.length === 0) throw new Problem("BAD_REQUEST", `The table "${table}" has no primary key`);
  const list = columnList(columns);
  await client.query(`create temporary table brought on commit drop as select ${list} from ${name} with no data`);
  await client.query(new CopyIn("copy brought from stdin", rows)).ended;
  await client.query("analyze brought");
  // Deletes before it inserts: a name that moved from one row to another would otherwise violate its unique index.
  await client.query(`delete from ${name} as old using brought where (${columnList(key, "old.")}) = (${columnList(key, "brought.")})`);
  await client.query(`insert into ${name} (${list}) overriding system value select ${list} from brought`);
}
