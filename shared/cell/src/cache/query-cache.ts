import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { LRUCache } from "lru-cache";
import { transactionOffset } from "../audit/trail-position.ts";
import { singleFlight } from "../workers/single-flight.ts";

const tables = tenantTables<{ auditLogs: { resourceType: string; resourceId: string } }>();

interface CachedRows {
  identity: object;
  /** What the database had committed when the rows were read, or before. */
  snapshot: string;
  transactionOffset: string;
  rows: Promise<readonly unknown[]>;
}

const cachedQueries = new LRUCache<string, CachedRows>({ max: 2_000 });

/** More changes than these are not told apart. */
const mostChanges = 2_000;

type Since = { types: readonly string[]; snapshot: string | null };

/** The entries about records of the types by transactions that a snapshot did not see, up to `mostChanges`. */
const entriesSince = (p: Parameters<Since>, offset: RawBuilder<unknown>) =>
  tables
    .selectFrom("auditLogs")
    .where(sql<boolean>`resource_type = any(${p.types}::text[])`)
    .where(sql<boolean>`transaction_id >= pg_snapshot_xmin(${p.snapshot}::pg_snapshot)::text::bigint + ${offset}`)
    .where(sql<boolean>`not pg_visible_in_snapshot((transaction_id - ${offset})::text::xid8, ${p.snapshot}::pg_snapshot)`)
    .limit(sql.lit(mostChanges));

/** How many records of the types were written by transactions that a snapshot did not see: each has written to the audit trail. */
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

/** What has been written so far, and how many records of some types since a snapshot: 0 where none is given. */
export interface TrailChanges {
  snapshot: string;
  transactionOffset: string;
  changes: number;
}

/** Looks into the audit trail: whatever was committed before is in it. */
export async function changesSince(tenant: TenantDb, types: readonly string[], snapshot: string | null): Promise<TrailChanges> {
  const now = await tenant.first(changesQuery, { types, snapshot });
  if (!now) throw new Error("a statement without a row");
  return { ...now, changes: now.changes ?? 0 };
}

/**
 * The ids of the records of some types that were written since `since`, others such as an export's among them; undefined where there are too
 * many of them to be told apart.
 */
export async function changedIdsSince(
  tenant: TenantDb,
  types: readonly string[],
  since: Pick<TrailChanges, "snapshot" | "transactionOffset">,
): Promise<string[] | undefined> {
  const entries = await tenant.query(changedIds, { types, ...since });
  return entries.length < mostChanges ? [...new Set(entries.map(({ resourceId }) => resourceId))] : undefined;
}

/**
 * The rows that `read` finds about records of these types as they are, from this process's memory where none of them has been written
 * since: never stale, for one look into the audit trail by all who ask at the same time. `question` is all that they depend on beside those records. `bears`: how many
 * records of these types may be written without a change of what the rows say. Rejects as `read` does.
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
    // What has changed goes on to count against the snapshot that did not see it.
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
