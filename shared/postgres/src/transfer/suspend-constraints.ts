import { setTimeout as sleep } from "node:timers/promises";
import { unavailable } from "@cell/problem";
import type pg from "pg";

/** The rights revoked from a tenant's logins, as the statements that grant them again. */
export interface SuspendedRights {
  /** To change rows and use sequences. */
  writes: string[];
  /** To use the schema at all. */
  reads: string[];
}

const pollMs = 10;

// Rights of all logins: each tenant may have its own, or all of them one.
const writeRights = `
  with rights as (
    select format('%s on table %I.%I', acl.privilege_type, n.nspname, c.relname) as what, acl.grantee, 1 as rank
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) acl
    where n.nspname = $1 and c.relkind in ('r', 'p') and acl.grantee not in (0, c.relowner)
      and acl.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    union all
    select format('%s (%s) on table %I.%I', acl.privilege_type, string_agg(quote_ident(a.attname), ', ' order by a.attnum), n.nspname, c.relname),
      acl.grantee, 2
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) acl
    where n.nspname = $1 and acl.grantee not in (0, c.relowner) and acl.privilege_type in ('INSERT', 'UPDATE')
    group by acl.privilege_type, n.nspname, c.relname, acl.grantee
    union all
    select format('%s on sequence %I.%I', acl.privilege_type, n.nspname, c.relname), acl.grantee, 1
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) acl
    where n.nspname = $1 and c.relkind = 'S' and acl.grantee not in (0, c.relowner) and acl.privilege_type in ('USAGE', 'UPDATE')
  )
  select format('revoke %s from %I', what, pg_get_userbyid(grantee)) as "take", format('grant %s to %I', what, pg_get_userbyid(grantee)) as "give"
  from rights order by rank, what`;

const readRights = `
  select format('revoke usage on schema %I from %I', n.nspname, pg_get_userbyid(acl.grantee)) as "take",
    format('grant usage on schema %I to %I', n.nspname, pg_get_userbyid(acl.grantee)) as "give"
  from pg_namespace n, aclexplode(n.nspacl) acl
  where n.nspname = $1 and acl.grantee not in (0, n.nspowner) and acl.privilege_type = 'USAGE'`;

/** Revokes the right to write from all logins, inside the owner's transaction: after its commit the database denies new writers. */
export async function suspendWrites(client: pg.ClientBase, schema: string): Promise<string[]> {
  return take(client, writeRights, schema);
}

/** Revokes the right to use the schema from all logins, inside the owner's transaction. */
export async function suspendReads(client: pg.ClientBase, schema: string): Promise<string[]> {
  return take(client, readRights, schema);
}

/** Runs the statements that `suspendWrites`, `suspendReads` or `deferKeys` returned. */
export async function restoreRights(client: pg.ClientBase, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await client.query(statement);
}

async function take(client: pg.ClientBase, rights: string, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ take: string; give: string }>(rights, [schema]);
  await restoreRights(
    client,
    rows.map((row) => row.take),
  );
  return rows.map((row) => row.give);
}

const writersNow = `
  select distinct virtualtransaction as writer from pg_locks
  where locktype = 'relation' and mode = 'RowExclusiveLock' and pid <> pg_backend_pid()
    and database = (select oid from pg_database where datname = current_database())
    and relation in (select oid from pg_class where relnamespace = (select oid from pg_namespace where nspname = $1))`;

/**
 * Resolves when every transaction has ended that had begun to write before the rights were revoked. A writer locks its table before its
 * rights are checked, so that later ones are denied. Rejects with UNAVAILABLE if one does not end in time.
 */
export async function awaitWriters(client: pg.ClientBase, schema: string, patienceMs: number): Promise<void> {
  const writers = async () => (await client.query<{ writer: string }>(writersNow, [schema])).rows.map(({ writer }) => writer);
  let left = await writers();
  for (const deadline = performance.now() + patienceMs; left.length > 0; ) {
    if (performance.now() > deadline)
      throw unavailable("A long write is under way, such as an import of all or nothing; try again when it has ended", 10);
    await sleep(pollMs);
    const now = new Set(await writers());
    left = left.filter((writer) => now.has(writer));
  }
}
