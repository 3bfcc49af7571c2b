import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import type { Tables } from "../tables.ts";
import type { TimelineItem } from "./schema.ts";

interface TrailTables extends Tables {
  auditLogs: {
    id: string;
    occurredAt: string;
    actorId: string;
    action: string;
    resourceType: string;
    resourceId: string;
    resourceName: string | null;
    changes: unknown;
  };
}

const trail = tenantTables<TrailTables>();

const textArray = (value: RawBuilder<unknown>) =>
  sql<string[]>`array(select field ->> 'field' from json_array_elements(${value}) as field)`;

/** The records that belong to a customer, as the audit trail names them. */
const ownRecords = (customerId: RawBuilder<string>) =>
  trail
    .selectNoFrom([sql<string>`${customerId}::text`.as("recordId")])
    .unionAll(trail.selectFrom("contacts").select(sql<string>`contact_id::text`.as("recordId")).where("customerId", "=", customerId))
    .unionAll(
      trail.selectFrom("opportunities").select(sql<string>`opportunity_id::text`.as("recordId")).where("customerId", "=", customerId),
    )
    .unionAll(trail.selectFrom("contracts").select(sql<string>`contract_id::text`.as("recordId")).where("customerId", "=", customerId))
    .unionAll(trail.selectFrom("payments").select(sql<string>`payment_id::text`.as("recordId")).where("customerId", "=", customerId));

const changes = (customerId: RawBuilder<string>) =>
  trail
    .selectFrom("auditLogs")
    .select([
      "occurredAt as at",
      sql<string>`'change'`.as("type"),
      sql<string>`id::text`.as("id"),
      "actorId",
      "resourceType",
      "resourceId",
      "resourceName",
      "action",
    ])
    .select(textArray(sql`changes`).as("details"))
    .where("resourceType", "in", [sql.lit("customer"), sql.lit("contact"), sql.lit("opportunity"), sql.lit("contract"), sql.lit("payment")])
    .where("resourceId", "in", ownRecords(customerId));

const moves = (customerId: RawBuilder<string>) =>
  trail
    .selectFrom("opportunityHistory as move")
    .innerJoin("opportunities as moved", "moved.opportunityId", "move.opportunityId")
    .select([
      "move.at as at",
      sql<string>`'stage'`.as("type"),
      sql<string>`move.opportunity_id || '/' || move.seq`.as("id"),
      "move.actorId",
    ])
    .select([
      sql<string>`'opportunity'`.as("resourceType"),
      sql<string>`move.opportunity_id::text`.as("resourceId"),
      "moved.name as resourceName",
    ])
    .select([sql<string>`'move'`.as("action"), sql<string[]>`array_remove(array[move.from_stage, move.stage], null)`.as("details")])
    .where("moved.customerId", "=", customerId)
    .where(sql<boolean>`move.moved`);

const receipts = (customerId: RawBuilder<string>) =>
  trail
    .selectFrom("payments")
    .select([
      "createdAt as at",
      sql<string>`'payment'`.as("type"),
      sql<string>`payment_id::text`.as("id"),
      sql<string | null>`null`.as("actorId"),
    ])
    .select([
      sql<string>`'payment'`.as("resourceType"),
      sql<string>`payment_id::text`.as("resourceId"),
      "reference as resourceName",
      "status as action",
    ])
    .select(sql<string[]>`array[kind]`.as("details"))
    .where("customerId", "=", customerId);

const timelinePage = statement((p: Parameters<{ customerId: string; beforeAt: string | null; beforeId: string | null }>) =>
  trail
    .selectFrom(
      changes(p.customerId)
        .unionAll(moves(p.customerId) as never)
        .unionAll(receipts(p.customerId) as never)
        .as("item"),
    )
    .selectAll()
    .where(sql<boolean>`(${p.beforeAt}::timestamptz is null or (item.at, item.id) < (${p.beforeAt}::timestamptz, ${p.beforeId}::text))`)
    .orderBy("at", "desc")
    .orderBy("id", "desc")
    .limit(sql.lit(11))
    .$castTo<TimelineItem>(),
);

/** A place in the timeline. */
export interface TimelinePosition {
  at: string;
  id: string;
}

/** Eleven items of the timeline, newest first: one more than a page shows. */
export function timeline(tenant: TenantDb, customerId: string, before: TimelinePosition | undefined): Promise<TimelineItem[]> {
  return tenant.query(timelinePage, { customerId, beforeAt: before?.at ?? null, beforeId: before?.id ?? null });
}
