import type pg from "pg";

/** Statements that restore dropped indexes and foreign keys. They would slow the load down, or reject rows by their order. */
export interface DeferredKeys {
  indexes: string[];
  foreignKeys: string[];
}

/** Drops the schema's foreign keys and the indexes that are not constraints, inside the owner's transaction. */
export async function deferKeys(client: pg.ClientBase, schema: string): Promise<DeferredKeys> {
  const foreignKeys = await defer(
    client,
    `select format('alter table %I.%I drop constraint %I', n.nspname, c.relname, k.conname) as "drop",
       format('alter table %I.%I add constraint %I %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) as "make"
     from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and k.contype = 'f' order by c.relname, k.conname`,
    schema,
  );
  const indexes = await defer(
    client,
    `select format('drop index %I.%I', n.nspname, i.relname) as "drop", pg_get_indexdef(i.oid) as "make"
     from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
     where n.nspname = $1 and not exists (select from pg_constraint k where k.conindid = i.oid) order by i.relname`,
    schema,
  );
  return { indexes, foreignKeys };
}

/** The statements that validate foreign keys created as NOT VALID. Writers do not wait for them. */
export async function unsettledKeys(client: pg.ClientBase, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ check: string }>(
    `select format('alter table %I.%I validate constraint %I', n.nspname, c.relname, k.conname) as "check"
     from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and not k.convalidated`,
    [schema],
  );
  return rows.map(({ check }) => check);
}

async function defer(client: pg.ClientBase, query: string, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ drop: string; make: string }>(query, [schema]);
  for (const row of rows) await client.query(row.drop);
  return rows.map((row) => row.make);
}
