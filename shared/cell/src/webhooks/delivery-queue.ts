import { type Parameters, recordsOf, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import type { EndpointPosition } from "./audit-source.ts";
import { event } from "./deliveries.ts";
import type { Event } from "./payload.ts";
import type { Delivery } from "./schema.ts";
import { type DeliveryStatus, db, type WebhookAttemptsTable } from "./tables.ts";

/** A delivery to create. */
export interface NewDelivery {
  deliveryId: string;
  eventId: string;
  eventType: string;
  auditSeq: number | null;
  occurredAt: string;
}

/** A delivery that this process has leased for an attempt. */
export interface Claimed extends Event {
  deliveryId: string;
  attempts: number;
  tries: number;
}

/** Result of an attempt, and what follows. */
export interface Noted extends Omit<WebhookAttemptsTable, "deliveryId"> {
  deliveryId: string;
  status: Delivery["status"];
  /** From now to the next attempt; null if there is none. */
  delayMs: number | null;
}

const field = (name: string): RawBuilder<string> => sql<string>`given.${sql.id(name)}`;

// Planned anew: rows arrive faster than the statistics for a cached plan.
const once = { keep: false };

const inserting = (p: Parameters<{ webhookId: string; rows: string }>) =>
  db
    .insertInto("webhookDeliveries")
    .columns(["deliveryId", "webhookId", "eventId", "eventType", "auditSeq", "occurredAt", "status", "nextAttemptAt"])
    .expression(
      db
        .selectFrom(
          sql<object>`json_to_recordset(${p.rows}::json)`.as<"given">(
            sql<never>`given(delivery_id uuid, event_id uuid, event_type text, audit_seq bigint, occurred_at timestamptz)`,
          ),
        )
        .select([
          field("delivery_id").as("deliveryId"),
          sql<string>`${p.webhookId}::uuid`.as("webhookId"),
          field("event_id").as("eventId"),
          field("event_type").as("eventType"),
          sql<number>`given.audit_seq`.as("auditSeq"),
          field("occurred_at").as("occurredAt"),
          sql<DeliveryStatus>`'pending'`.as("status"),
          sql<string>`now()`.as("nextAttemptAt"),
        ]),
    );

const insertNew = statement(
  (p: Parameters<{ webhookId: string; rows: string }>) =>
    inserting(p).onConflict((conflict) => conflict.columns(["webhookId", "eventId"]).doNothing()),
  once,
);

const requeued = { status: "pending" as const, tries: 0, nextAttemptAt: sql<string>`now()`, finishedAt: null };

const insertAgain = statement(
  (p: Parameters<{ webhookId: string; rows: string }>) =>
    inserting(p).onConflict((conflict) =>
      conflict.columns(["webhookId", "eventId"]).doUpdateSet(requeued).where(sql<boolean>`webhook_deliveries.status <> 'pending'`),
    ),
  once,
);

const requeueOne = statement((p: Parameters<{ deliveryId: string }>) =>
  db.updateTable("webhookDeliveries").set(requeued).where("deliveryId", "=", p.deliveryId).where("status", "<>", "pending"),
);

const lockPosition = statement((p: Parameters<{ webhookId: string }>) =>
  db
    .selectFrom("webhooks")
    .select(["positionTransaction", "positionSeq", "events"])
    .where("webhookId", "=", p.webhookId)
    .where("enabled", "=", true)
    // Leaves room for the foreign keys of a replay that makes the same deliveries: each would wait for the other.
    .forNoKeyUpdate(),
);

const setPosition = statement((p: Parameters<{ webhookId: string } & EndpointPosition>) =>
  db
    .updateTable("webhooks")
    .set({ positionTransaction: p.positionTransaction, positionSeq: p.positionSeq })
    .where("webhookId", "=", p.webhookId),
);

const due = (p: Parameters<{ webhookId: string; limit: number }>) =>
  db
    .selectFrom("webhookDeliveries")
    .select("deliveryId")
    .where("webhookId", "=", p.webhookId)
    .where("status", "=", "pending")
    .where("nextAttemptAt", "<=", sql<string>`now()`)
    .orderBy("nextAttemptAt")
    .orderBy("deliveryId")
    .limit(p.limit)
    .forUpdate()
    .skipLocked();

const claimDue = statement(
  (p: Parameters<{ webhookId: string; limit: number; leaseMs: number }>) =>
    db
      .updateTable("webhookDeliveries")
      .set({
        attempts: sql<number>`attempts + 1`,
        tries: sql<number>`tries + 1`,
        nextAttemptAt: sql<string>`now() + ${p.leaseMs}::int * interval '1 millisecond'`,
      })
      .where(sql<boolean>`delivery_id = any(array(${due(p)}))`)
      .returning(["deliveryId", "eventId", "eventType", "occurredAt", "attempts", "tries", event()]),
  once,
);

const noteResult = statement((p: Parameters<Noted>) =>
  db
    .updateTable("webhookDeliveries")
    .set({
      status: p.status,
      nextAttemptAt: sql<string>`now() + ${p.delayMs}::int * interval '1 millisecond'`,
      finishedAt: sql<string>`case when ${p.delayMs}::int is null then now() end`,
    })
    .where("deliveryId", "=", p.deliveryId)
    // One that was taken over, or replayed meanwhile, is another attempt's.
    .where("attempts", "=", p.attempt),
);

const insertAttempt = statement((p: Parameters<Noted>) =>
  db
    .insertInto("webhookAttempts")
    .columns(["deliveryId", "attempt", "startedAt", "durationMs", "statusCode", "error"])
    .expression(
      db
        .selectFrom("webhookDeliveries")
        .select([
          "deliveryId",
          sql<number>`${p.attempt}::int`.as("attempt"),
          sql<string>`${p.startedAt}::timestamptz`.as("startedAt"),
          sql<number>`${p.durationMs}::int`.as("durationMs"),
          sql<number | null>`${p.statusCode}::int`.as("statusCode"),
          sql<string | null>`${p.error}::text`.as("error"),
        ])
        .where("deliveryId", "=", p.deliveryId),
    )
    .onConflict((conflict) => conflict.doNothing()),
);

const firstDue = () =>
  db
    .selectFrom("webhookDeliveries")
    .select("nextAttemptAt")
    .where(sql<boolean>`webhook_deliveries.webhook_id = webhooks.webhook_id`)
    .where("status", "=", "pending")
    .orderBy("nextAttemptAt")
    .limit(sql.lit(1));

const nextDue = statement((_: Parameters<object>) =>
  db
    .selectFrom("webhooks")
    .select(sql<number | null>`(extract(epoch from min((${firstDue()})) - now()) * 1000)::int`.as("dueInMs"))
    .where("enabled", "=", true),
);

const rowsOfNobody = sql<boolean>`webhook_id in (${db.selectFrom("webhooks").select("webhookId").where("deletedAt", "is not", null)})`;

const sweepRows = statement(
  (p: Parameters<{ retentionDays: number; limit: number }>) =>
    db
      .deleteFrom("webhookDeliveries")
      .where(
        sql<boolean>`ctid = any(array(${db
          .selectFrom("webhookDeliveries")
          .select(sql`ctid`.as("place"))
          .where(sql<boolean>`(created_at < now() - ${p.retentionDays}::int * interval '1 day' or ${rowsOfNobody})`)
          .limit(p.limit)
          .forUpdate()
          .skipLocked()}))`,
      )
      .returning("deliveryId"),
  once,
);

const sweepWebhooks = statement((_: Parameters<object>) =>
  db
    .deleteFrom("webhooks")
    .where("deletedAt", "is not", null)
    .where(
      sql<boolean>`not exists (${db.selectFrom("webhookDeliveries").select("deliveryId").where(sql<boolean>`webhook_deliveries.webhook_id = webhooks.webhook_id`)})`,
    ),
);

/** An enabled endpoint's position in the audit trail, locked until the transaction ends. Needs `tx.begin()`. */
export async function lock(tx: TenantTx, webhookId: string) {
  const [row] = await tx.run(lockPosition, { webhookId });
  return row;
}

/** Creates missing deliveries and advances the endpoint's position in the trail, immediately. Needs `tx.begin()`. */
export async function advance(tx: TenantTx, webhookId: string, rows: readonly NewDelivery[], position: EndpointPosition): Promise<void> {
  if (rows.length > 0) await tx.run(insertNew, { webhookId, rows: recordsOf(rows) });
  await tx.run(setPosition, { webhookId, ...position });
}

/** Creates deliveries; existing ones are queued again. */
export function queue(tx: TenantTx, webhookId: string, rows: readonly NewDelivery[]) {
  return tx.change(insertAgain, { webhookId, rows: recordsOf(rows) });
}

/** Queues one delivery again; a pending one stays unchanged. */
export function requeue(tx: TenantTx, deliveryId: string) {
  return tx.change(requeueOne, { deliveryId });
}

/** Leases due deliveries for `leaseMs`, immediately: after that, another process may take them. Needs `tx.begin()`. */
export function claim(tx: TenantTx, webhookId: string, limit: number, leaseMs: number): Promise<Claimed[]> {
  return tx.run(claimDue, { webhookId, limit, leaseMs });
}

/** Records the result of an attempt. */
export function note(tx: TenantTx, noted: Noted) {
  return [tx.change(noteResult, noted), tx.change(insertAttempt, noted)] as const;
}

/** Milliseconds until a delivery to an enabled endpoint is due: negative if overdue, null if there is none. */
export async function dueInMs(tenant: TenantDb): Promise<number | null> {
  return (await tenant.first(nextDue, {}))?.dueInMs ?? null;
}

/** Deletes old deliveries and those of deleted endpoints, immediately; resolves to their number, at most `limit`. Needs `tx.begin()`. */
export async function sweep(tx: TenantTx, retentionDays: number, limit: number): Promise<number> {
  const swept = await tx.run(sweepRows, { retentionDays, limit });
  if (swept.length < limit) await tx.run(sweepWebhooks, {});
  return swept.length;
}
