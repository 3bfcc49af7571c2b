import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { LRUCache } from "lru-cache";

const tables = tenantTables<{
  auditLogs: { resourceType: string };
  auditSeals: { seal: number; transactionOffset: string };
}>();

interface Remembered {
  identity: object;
  /** What the database had committed when the rows were read, or before. */
  snapshot: string;
  transactionOffset: string;
  rows: Promise<readonly unknown[]>;
}

const kept = new LRUCache<string, Remembered>({ max: 2_000 });

const offset = tables.selectFrom("auditSeals").select("transactionOffset").orderBy("seal", "desc").limit(sql.lit(1));

/** More changes than these are not told apart. */
const mostChanges = 2_000;

/** How many records of the types were written by transactions that a snapshot did not see: each has written to the audit trail. */
const news = statement((p: Parameters<{ types: readonly string[]; snapshot: string | null }>) =>
  tables
    .selectFrom(sql<{ transactionOffset: string }>`(select coalesce((${offset}), 0) as transaction_offset)`.as("counted"))
    .select([sql<string>`pg_current_snapshot()::text`.as("snapshot"), sql<string>`transaction_offset::text`.as("transactionOffset")])
    .select((eb) =>
      eb
        .selectFrom(
          tables
            .selectFrom("auditLogs")
            .select(sql`1`.as("one"))
            .where(sql<boolean>`resource_type = any(${p.types}::text[])`)
            .where(sql<boolean>`transaction_id >= pg_snapshot_xmin(${p.snapshot}::pg_snapshot)::text::bigint + transaction_offset`)
            .where(sql<boolean>`not pg_visible_in_snapshot((transaction_id - transaction_offset)::text::xid8, ${p.snapshot}::pg_snapshot)`)
            .limit(sql.lit(mostChanges))
            .as("change"),
        )
        .select(eb.fn.countAll<number>().as("count"))
        .as("changes"),
    ),
);

/**
 * The rows that `read` finds about records of these types as they are, from this process's memory where none of them has been written
 * since: never stale, for one look into the audit trail. `question` is all that they depend on beside those records. `bears`: how many
 * records of these types may be written without a change of what the rows say. Rejects as `read` does.
 */
export async function remembered<Row>(
  tenant: TenantDb,
  types: readonly string[],
  question: unknown,
  read: () => Promise<Row[]>,
  bears: (rows: readonly Row[]) => number = () => 0,
): Promise<Row[]> {
  const { identity, tenantId } = tenant;
  const name = JSON.stringify([tenantId, types, question]);
  const found = kept.get(name);
  const known = found?.identity === identity ? found : undefined;
  const now = await tenant.first(news, { types, snapshot: known?.snapshot ?? null });
  if (!now) throw new Error("a statement without a row");
  const { snapshot, transactionOffset } = now;
  const changes = now.changes ?? 0;
  const isSame = known?.transactionOffset === transactionOffset;
  if (isSame && changes > 0 && changes < mostChanges) {
    // What has changed goes on to count against the snapshot that did not see it.
    const rows = (await known.rows) as readonly Row[];
    if (changes <= bears(rows)) return [...rows];
  }
  const rows = isSame && changes === 0 ? known.rows : read();
  kept.set(name, { identity, snapshot, transactionOffset, rows });
  try {
    return (await rows) as Row[];
  } catch (error) {
    if (kept.get(name)?.rows === rows) kept.delete(name);
    throw error;
  }
}
