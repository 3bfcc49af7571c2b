import type pg from "pg";
import type { SchemaMigration } from "./control.ts";

/**
 * Functions that tenants' statements never need and that reach beyond a statement's bounds, by pattern:
 * - `set_config` would change the role on a login that tenants share, and settings for the next user of the connection;
 * - functions that run a query given as text would bypass what the statement was parsed for;
 * - large objects belong to no schema; notifications and session advisory locks reach across tenants, and `pg_sleep` holds a connection;
 * - sizes and statistics reveal how much data others have.
 * With a login per tenant, the tenant's rights are the barrier, and this list is a second one. With a shared login this list is the only
 * one, and a deny list is weaker: an attacker able to send whole statements, and not only to alter one, could take another tenant's role by
 * SET ROLE.
 */
const closedFunctions = [
  "set_config",
  "(query|cursor|table|schema|database)_to_xml.*",
  "ts_stat|ts_rewrite",
  "lo_.*|lo(read|write)",
  "pg_notify|pg_logical_emit_message",
  "pg_(try_)?advisory_(un)?lock.*",
  "pg_sleep.*",
  "pg_(relation|table|indexes|total_relation|database|tablespace)_size",
  "pg_stat_get_.*",
].join("|");
const closedViews = ["pg_stat.*", "pg_locks", "pg_cursors", "pg_prepared_statements", "pg_prepared_xacts"].join("|");

const publicFunctions = `
  select p.oid::regprocedure::text as name
  from pg_proc p
  where p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '^(${closedFunctions})$' and p.prorettype <> 'trigger'::regtype
    and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl where acl.grantee = 0)`;

const publicViews = `
  select c.oid::regclass::text as name
  from pg_class c
  where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v' and c.relname ~ '^(${closedViews})$'
    and exists (select from aclexplode(c.relacl) acl where acl.grantee = 0)`;

/**
 * Revokes these functions from everyone except superusers and members of `pg_monitor`. The migration is from when the owner was a
 * superuser; now `deploy/postgres/bootstrap.sql`, which a superuser runs first, revokes the same ones. Without either they stay executable:
 * PostgreSQL then logs a warning, and `unrevokedFunctions` lists them.
 */
export function hardeningMigration(): SchemaMigration {
  return {
    name: "closed_doors",
    sql: [
      `do $$ declare door record; begin
        for door in ${publicFunctions} loop
          execute format('revoke execute on function %s from public', door.name);
          execute format('grant execute on function %s to pg_monitor', door.name);
        end loop;
      end $$`,
      `do $$ declare door record; begin
        for door in ${publicViews} loop
          execute format('revoke all on %s from public', door.name);
          execute format('grant select on %s to pg_monitor', door.name);
        end loop;
      end $$`,
      `do $$ begin
        revoke update on pg_settings from public;
        revoke select on pg_largeobject_metadata from public;
        -- functions that are there may still be called; what is closed are DO blocks and new ones
        revoke usage on language plpgsql, sql from public;
      end $$`,
    ],
  };
}

/** The listed functions and views that everyone may use: all of them if no superuser has revoked them. */
export async function unrevokedFunctions(client: pg.ClientBase | pg.Pool): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(`${publicFunctions} union all ${publicViews}`);
  return rows.map(({ name }) => name);
}
