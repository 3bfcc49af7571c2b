import { type AuditEntry, type Parameters, statement, type TenantDb, type TenantTx, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { trailPosition } from "../audit/trail-position.ts";
import type { TrailEntry } from "./event-catalogue.ts";

const db = tenantTables<{ auditLogs: AuditEntry & { seq: number; transactionId: string } }>();

/** An audit entry for the outbox, with its position in the trail. */
export interface PlacedEntry extends TrailEntry {
  seq: number;
  transactionId: string;
  occurredAt: string;
  /** Every transaction up to it has ended. */
  finished: boolean;
}

/** An endpoint's position in the trail: deliveries exist for the entries up to it. */
export interface EndpointPosition {
  positionTransaction: string;
  positionSeq: string;
}

const behind = statement((p: Parameters<EndpointPosition & { limit: number }>) =>
  db
    .selectFrom("auditLogs")
    .select(["id", "seq", "transactionId", "occurredAt", "action", "resourceType"])
    .select(sql<TrailEntry["changes"]>`changes`.as("changes"))
    .select(sql<boolean>`transaction_id < ${trailPosition("oldestRunning")}`.as("finished"))
    .where(sql<boolean>`(transaction_id, seq) > (${p.positionTransaction}::bigint, ${p.positionSeq}::bigint)`)
    .orderBy("transactionId")
    .orderBy("seq")
    .limit(p.limit),
);

// Planned for the requested time: a short one is found by its index's block ranges.
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

/** The next entries after a position, in the order of their transactions. */
export function next(tx: TenantTx, position: EndpointPosition, limit: number): Promise<PlacedEntry[]> {
  return tx.run(behind, { ...position, limit });
}

/** The entries of a half-open time window, oldest first. */
export function within(
  tenant: TenantDb,
  from: string,
  to: string,
  limit: number,
): Promise<Omit<PlacedEntry, "transactionId" | "finished">[]> {
  return tenant.query(between, { from, to, limit });
}
