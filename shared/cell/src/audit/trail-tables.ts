import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { patiently } from "./trail-reader.ts";

/** Reasons why the trail's tables may return something other than what was written to them. */
export const tableFaults = ["table_replaced", "row_security_added", "rule_added", "trigger_added", "default_changed"] as const;
export type TableFault = (typeof tableFaults)[number];

interface TrailTable {
  /** An ordinary, logged table outside any inheritance; false also if it does not exist. */
  isPlain: boolean;
  hasRowSecurity: boolean;
  hasRules: boolean;
  hasTriggers: boolean;
  /** Default expressions by `table.column`. */
  defaults: Readonly<Record<string, string>> | null;
}

/** The catalogue's description of both tables: it is readable whatever replaced them. */
const trailTables = statement((_: Parameters<object>) =>
  tenantTables<object>().selectNoFrom(
    sql<TrailTable[]>`(
      select json_agg(json_build_object(
        'isPlain', coalesce(c.relkind = 'r' and c.relpersistence = 'p' and not c.relispartition
          and not exists (select from pg_inherits where c.oid in (inhrelid, inhparent)), false),
        'hasRowSecurity', c.relrowsecurity or c.relforcerowsecurity or exists (select from pg_policy where polrelid = c.oid),
        'hasRules', exists (select from pg_rewrite where ev_class = c.oid),
        'hasTriggers', exists (select from pg_trigger where tgrelid = c.oid and not tgisinternal),
        'defaults', (select json_object_agg(asked.name || '.' || attname, pg_get_expr(adbin, adrelid))
          from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum where adrelid = c.oid)))
      from unnest(array['audit_logs', 'audit_seals']) as asked(name)
      left join pg_namespace n on n.nspname = trim('"' from '"$tenant"')
      left join pg_class c on c.relnamespace = n.oid and c.relname = asked.name)`.as("tables"),
  ),
);

/** The only allowed default: the writing transaction's id, plus an offset that continues another database server's ids. */
const transactionDefault = /^\(*pg_current_xact_id\(\)\)::text\)::bigint(?: \+ '?(-?\d+)'?(?:::bigint)?\))?$/;

/**
 * The first way in which the tables could hide what is in them, or keep entries from being sealed. `offsetOf` reads the transaction id
 * offset from the seals. Rejects with the database's error.
 */
export async function tableFaultOf(tenant: TenantDb, offsetOf: () => Promise<string>): Promise<TableFault | undefined> {
  const { tables = [] } = (await patiently(() => tenant.first(trailTables, {}))) ?? {};
  if (tables.length === 0 || !tables.every(({ isPlain }) => isPlain)) return "table_replaced";
  if (tables.some(({ hasRowSecurity }) => hasRowSecurity)) return "row_security_added";
  if (tables.some(({ hasRules }) => hasRules)) return "rule_added";
  if (tables.some(({ hasTriggers }) => hasTriggers)) return "trigger_added";
  const offset = await offsetOf();
  const { "audit_logs.transaction_id": transaction = "", ...others } = Object.assign(
    {},
    ...tables.map(({ defaults }) => defaults),
  ) as Record<string, string>;
  const [matched, added = "0"] = transactionDefault.exec(transaction) ?? [];
  return matched !== undefined && added === offset && Object.keys(others).length === 0 ? undefined : "default_changed";
}
