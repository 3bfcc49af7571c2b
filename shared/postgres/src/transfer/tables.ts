import { Problem } from "@cell/problem";
import pg from "pg";

/** A table of a tenant's schema whose rows a transfer copies. */
export interface TransferTable {
  table: string;
  /** Without generated columns. */
  columns: string[];
  /** The columns of the primary key. */
  key: string[];
}

/** The state of a sequence. */
export interface SequenceState {
  sequence: string;
  lastValue: string;
  isCalled: boolean;
}

/** The tables of a schema by name, without unlogged ones, whose rows can be computed again from the others. */
export async function tablesOf(client: pg.ClientBase, schema: string): Promise<TransferTable[]> {
  const { rows } = await client.query<TransferTable>(
    `select c.relname as "table",
       array(select a.attname::text from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum) as columns,
       array(select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
         where i.indrelid = c.oid and i.indisprimary order by a.attnum) as key
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition order by c.relname`,
    [schema],
  );
  return rows;
}

/** The table with this name, with the given columns. Throws BAD_REQUEST if the schema does not have them. */
export async function findTable(client: pg.ClientBase, schema: string, table: string, columns: readonly string[]): Promise<TransferTable> {
  const found = (await tablesOf(client, schema)).find((one) => one.table === table);
  if (!found) throw new Problem("BAD_REQUEST", `There is no table "${table}" here`);
  const unknown = columns.find((column) => !found.columns.includes(column));
  if (unknown !== undefined) throw new Problem("BAD_REQUEST", `The table "${table}" has no column "${unknown}" here`);
  return { ...found, columns: [...columns] };
}

/** The state of the schema's sequences, including those of identity columns. */
export async function sequencesOf(client: pg.ClientBase, schema: string): Promise<SequenceState[]> {
  const { rows } = await client.query<{ sequence: string }>(
    `select c.relname as sequence from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind = 'S' order by c.relname`,
    [schema],
  );
  const states: SequenceState[] = [];
  for (const { sequence } of rows) {
    const state = await client.query<Omit<SequenceState, "sequence">>(
      `select last_value::text as "lastValue", is_called as "isCalled" from ${qualified(schema, sequence)}`,
    );
    const [row] = state.rows;
    if (row) states.push({ sequence, ...row });
  }
  return states;
}

/** The qualified name of a table or sequence. */
export function qualified(schema: string, name: string): string {
  return `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
}

/** Quoted names of a list of columns. */
export function columnList(columns: readonly string[], prefix = ""): string {
  return columns.map((column) => prefix + pg.escapeIdentifier(column)).join(", ");
}

/** The first transaction that the client's snapshot may lack. */
export async function snapshotOf(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query<{ snapshot: string }>("select pg_snapshot_xmin(pg_current_snapshot())::text as snapshot");
  const [row] = rows;
  if (!row) throw new Error("The server returned no snapshot");
  return row.snapshot;
}

/** The condition for rows written by this transaction or a later one: it uses the system column xmin, so that no column is needed. */
export function writtenSince(transaction: string): string {
  return `age(xmin) <= age(${pg.escapeLiteral(transaction)}::xid8::xid)`;
}
