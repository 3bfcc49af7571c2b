import { tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";

const tables = tenantTables<{ auditSeals: { seal: number; transactionOffset: string } }>();

const lastOffset = tables.selectFrom("auditSeals").select("transactionOffset").orderBy("seal", "desc").limit(sql.lit(1));

/** SQL for what the trail adds to the transaction numbers of this server: a trail that was moved here counts on from the other server. */
export const transactionOffset: RawBuilder<string> = sql`coalesce((${lastOffset}), 0)`;

const transactions = {
  current: sql`pg_current_xact_id()`,
  oldestRunning: sql`pg_snapshot_xmin(pg_current_snapshot())`,
};

/** SQL for the number under which the trail has the entries of a transaction of this server. */
export function trailPosition(of: keyof typeof transactions): RawBuilder<string> {
  return sql<string>`(${transactions[of]}::text::bigint + ${transactionOffset})`;
}
