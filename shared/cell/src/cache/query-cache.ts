import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { LRUCache } from "lru-cache";
import { transactionOffset } from "../audit/trail-position.ts";
import { singleFlight } from "../workers/single-flight.ts";

const tables = tenantTables<{ auditLogs: { resourceType: string; resourceId: string } }>();

interface CachedRows {
  identity: object;
  /** The database's committed state when the rows were read, or before. */
  snapshot: string;
  transactionOffset: string;
  rows: Promise<readonly unknown[]>;
}

const cachedQueries = new LRUCache<string, CachedRows>({ max: 2_000 });

/** With more changes, single records are not looked up. */
const mostChanges = 2_000;

type Since = { types: readonly string[]; snapshot: string | null };

/** The audit entries about records of the types by transactions that a snapshot did not include, up to `mostChanges`. */
const entriesSince = (p: Parameters<Since>, offset: RawBuilder<unknown>) =>
  tables
    .selectFrom("auditLogs")
    .where(sql<boolean>`resource_type = any(${p.types}::text[])`)
    .where(sql<boolean>`transaction_id >= pg_snapshot_xmin(${p.snapshot}::pg_snapshot)::text::bigint + ${offset}`)
    .where(sql<boolean>`not pg_visible_in_snapshot((transaction_id - ${offset})::text::xid8, ${p.snapshot}::pg_snapshot)`)
    .limit(sql.lit(mostChanges));

/** Number of records of the types written by transactions that a snapshot did not include: each write has an audit entry. */
const changesQuery = statement((p: Parameters<Since>) =>
  tables
    .selectFrom(sql<{ transactionOffset: string }>`(select ${transactionOffset} as transaction_offset)`.as("counted"))
    .select([sql<string>`pg_current_snapshot()::text`.as("snapshot"), sql<string>`transaction_offset::text`.as("transactionOffset")])
    .select((eb) =>
      eb
        .selectFrom(entriesSince(p, sql`transaction_offset`).select(sql`1`.as("one")).as("change"))
        .select(eb.fn.countAll<number>().as("count"))
        .as("changes"),
    ),
);

const changedIds = statement((p: Parameters<Since & { transactionOffset: string }>) =>
  entriesSince(p, sql`${p.transactionOffset}::bigint`).select("resourceId"),
);

/** The current snapshot, and the number of records of some types written since an earlier one: 0 without one. */
export interface TrailChanges {
  snapshot: string;
  transactionOffset: string;
  changes: number;
}

/** Reads the changes from the audit trail, which contains every committed write. */
export async function changesSince(tenant: TenantDb, types: readonly string[], snapshot: string | null): Promise<TrailChanges> {
  const now = await tenant.first(changesQuery, { types, snapshot });
  if (!now) throw new Error("a statement without a row");
  return { ...now, changes: now.changes ?? 0 };
}

/** The ids of the records of some types written since `since`, possibly with ids of other types; undefined if there are too many. */
export async function changedIdsSince(
  tenant: TenantDb,
  types: readonly string[],
  since: Pick<TrailChanges, "snapshot" | "transactionOffset">,
): Promise<string[] | undefined> {
  const entries = await tenant.query(changedIds, { types, ...since });
  return entries.length < mostChanges ? [...new Set(entries.map(({ resourceId }) => resourceId))] : undefined;
}

/**
 * Cached rows of `read` about records of these types. A hit needs one look into the audit trail, shared by concurrent callers, that finds
 * at most `toleratedChanges` records of the types written since; so the rows are never stale. `question` is everything besides those
 * records that the rows depend on. Rejects as `read` does.
 */
export function cachedQuery<Row>(
  tenant: TenantDb,
  types: readonly string[],
  question: unknown,
  read: () => Promise<Row[]>,
  toleratedChanges: (rows: readonly Row[]) => number = () => 0,
): Promise<Row[]> {
  const name = JSON.stringify([tenant.tenantId, types, question]);
  return singleFlight(name, () => recall(tenant, types, name, read, toleratedChanges));
}

async function recall<Row>(
  tenant: TenantDb,
  types: readonly string[],
  name: string,
  read: () => Promise<Row[]>,
  toleratedChanges: (rows: readonly Row[]) => number,
): Promise<Row[]> {
  const { identity } = tenant;
  const found = cachedQueries.get(name);
  const known = found?.identity === identity ? found : undefined;
  const { snapshot, transactionOffset, changes } = await changesSince(tenant, types, known?.snapshot ?? null);
  const isSame = known?.transactionOffset === transactionOffset;
  if (isSame && changes > 0 && changes < mostChanges) {
    // Keep the old snapshot, so that tolerated changes keep adding up.
    const rows = (await known.rows) as readonly Row[];
    if (changes <= toleratedChanges(rows)) return [...rows];
  }
  const rows = isSame && changes === 0 ? known.rows : read();
  cachedQueries.set(name, { identity, snapshot, transactionOffset, rows });
  try {
    return (await rows) as Row[];
  } catch (error) {
    if (cachedQueries.get(name)?.rows === rows) cachedQueries.delete(name);
    throw error;
  }
}
