import { type AuditEntry, type Parameters, statement, type TenantDb, type TenantTx, tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import type { TrailEntry } from "./domain.ts";

interface TrailTables {
  auditLogs: AuditEntry & { seq: number; transactionId: string };
  auditSeals: { seal: number; transactionOffset: string };
}

const db = tenantTables<TrailTables>();

/** An entry on its way to become events, with its place in the trail. */
export interface PlacedEntry extends TrailEntry {
  seq: number;
  transactionId: string;
  occurredAt: string;
  /** Every transaction before and at it has ended. */
  finished: boolean;
}

/** A place in the trail: the entries behind it are still to be seen. */
export interface TrailPosition {
  positionTransaction: string;
  positionSeq: string;
}

/**
 * A transaction of this server as the trail counts it: after a move from another server the trail counts on from there, and its last seal
 * says by how much.
 */
export function transactionHere(transaction: "pg_current_xact_id()" | "pg_snapshot_xmin(pg_current_snapshot())"): RawBuilder<string> {
  const id = transaction === "pg_current_xact_id()" ? sql`pg_current_xact_id()` : sql`pg_snapshot_xmin(pg_current_snapshot())`;
  const offset = db.selectFrom("auditSeals").select("transactionOffset").orderBy("seal", "desc").limit(sql.lit(1));
  return sql<string>`(${id}::text::bigint + coalesce((${offset}), 0))`;
}

const behind = statement((p: Parameters<TrailPosition & { limit: number }>) =>
  db
    .selectFrom("auditLogs")
    .select(["id", "seq", "transactionId", "occurredAt", "action", "resourceType"])
    .select(sql<TrailEntry["changes"]>`changes`.as("changes"))
    .select(sql<boolean>`transaction_id < ${transactionHere("pg_snapshot_xmin(pg_current_snapshot())")}`.as("finished"))
    .where(sql<boolean>`(transaction_id, seq) > (${p.positionTransaction}::bigint, ${p.positionSeq}::bigint)`)
    .orderBy("transactionId")
    .orderBy("seq")
    .limit(p.limit),
);

// Planned for the time that is asked for: a short one is found by the block ranges of its index.
const between = statement(
  (p: Parameters<{ from: string; to: string; limit: number }>) =>
    db
      .selectFrom("auditLogs")
      .select(["id", "seq", "occurredAt", "action", "resourceType"])
      .select(sql<TrailEntry["changes"]>`changes`.as("changes"))
      .where("occurredAt", ">=", p.from)
      .where("occurredAt", "<", p.to)
      .orderBy("occurredAt")
      .orderBy("seq")
      .limit(p.limit),
  { keep: false },
);

/** The next entries behind a place, in the order of their transactions. */
export function next(tx: TenantTx, position: TrailPosition, limit: number): Promise<PlacedEntry[]> {
  return tx.run(behind, { ...position, limit });
}

/** The entries of a time, half-open, oldest first. */
export function within(
  tenant: TenantDb,
  from: string,
  to: string,
  limit: number,
): Promise<Omit<PlacedEntry, "transactionId" | "finished">[]> {
  return tenant.query(between, { from, to, limit });
}
