import type { Visibility } from "@cell/cell";
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
    requestId: string;
    ip: string | null;
    userAgent: string | null;
  };
}

const trail = tenantTables<TrailTables>();

/** Reading is neither a change nor contact with the customer: these entries are only in the audit trail. */
const readings = ["reveal", "export"];

const noText = sql<string | null>`null::text`;

/** Opportunities have their own owners; a customer's other records are visible to everyone who may see the customer. */
const ownedBy = (owner: RawBuilder<Visibility>) => sql<boolean>`(${owner}::text is null or owner_id = ${owner})`;

/** The visible records of a customer, by their names in the audit trail. */
const ownRecords = (customerId: RawBuilder<string>, owner: RawBuilder<Visibility>) =>
  trail
    .selectNoFrom([sql<string>`${customerId}::text`.as("recordId")])
    .unionAll(trail.selectFrom("contacts").select(sql<string>`contact_id::text`.as("recordId")).where("customerId", "=", customerId))
    .unionAll(
      trail
        .selectFrom("opportunities")
        .select(sql<string>`opportunity_id::text`.as("recordId"))
        .where("customerId", "=", customerId)
        .where(ownedBy(owner)),
    )
    .unionAll(trail.selectFrom("contracts").select(sql<string>`contract_id::text`.as("recordId")).where("customerId", "=", customerId))
    .unionAll(trail.selectFrom("payments").select(sql<string>`payment_id::text`.as("recordId")).where("customerId", "=", customerId));

const changes = (customerId: RawBuilder<string>, owner: RawBuilder<Visibility>) =>
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
      "requestId",
    ])
    .select(sql<string[]>`null::text[]`.as("details"))
    .where(
      "action",
      "not in",
      readings.map((action) => sql.lit(action)),
    )
    .where("resourceType", "in", [sql.lit("customer"), sql.lit("contact"), sql.lit("opportunity"), sql.lit("contract"), sql.lit("payment")])
    .where("resourceId", "in", ownRecords(customerId, owner));

const moves = (customerId: RawBuilder<string>, owner: RawBuilder<Visibility>) =>
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
    .select([
      sql<string>`'move'`.as("action"),
      "move.requestId",
      sql<string[]>`array_remove(array[move.from_stage, move.stage], null)`.as("details"),
    ])
    .where("moved.customerId", "=", customerId)
    .where(sql<boolean>`(${owner}::text is null or moved.owner_id = ${owner})`)
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
    .select([noText.as("requestId"), sql<string[]>`array[kind]`.as("details")])
    .where("customerId", "=", customerId);

/** What an item of any kind is read with; a payment names neither who registered it nor by which request. */
interface TimelineColumns {
  at: string;
  type: string;
  id: string;
  actorId: string | null;
  resourceType: string;
  resourceId: string;
  resourceName: string | null;
  action: string;
  requestId: string | null;
  details: string[] | null;
}

interface TimelineParameters {
  customerId: string;
  owner: Visibility;
  beforeAt: string | null;
  beforeId: string | null;
}

/** Entries' contents are only read for the page: a customer may have thousands. */
const timelinePage = statement((p: Parameters<TimelineParameters>) =>
  trail
    .selectFrom(
      trail
        .selectFrom(
          changes(p.customerId, p.owner)
            .$castTo<TimelineColumns>()
            .unionAll(moves(p.customerId, p.owner))
            .unionAll(receipts(p.customerId))
            .as("item"),
        )
        .selectAll()
        .where(sql<boolean>`(${p.beforeAt}::timestamptz is null or (item.at, item.id) < (${p.beforeAt}::timestamptz, ${p.beforeId}::text))`)
        .orderBy("at", "desc")
        .orderBy("id", "desc")
        .limit(sql.lit(11))
        .as("item"),
    )
    .leftJoin("auditLogs as entry", (join) => join.on(sql<boolean>`entry.id = case item.type when 'change' then item.id::uuid end`))
    .selectAll("item")
    .select(["entry.changes", "entry.ip", "entry.userAgent"])
    .orderBy("item.at", "desc")
    .orderBy("item.id", "desc")
    .$castTo<TimelineRow>(),
);

/** An item as it is read: only changes have details, which their changes provide. */
type TimelineRow = Omit<TimelineItem, "details" | "changes"> & {
  details: string[] | null;
  changes: TimelineItem["changes"] | null;
};

/** A position in the timeline. */
export interface TimelinePosition {
  at: string;
  id: string;
}

/** Eleven timeline items, newest first: one more than a page shows. */
export async function timeline(
  tenant: TenantDb,
  customerId: string,
  owner: Visibility,
  before: TimelinePosition | undefined,
): Promise<TimelineItem[]> {
  const rows = await tenant.query(timelinePage, { customerId, owner, beforeAt: before?.at ?? null, beforeId: before?.id ?? null });
  return rows.map((row) => {
    const changes = row.changes ?? [];
    return { ...row, changes, details: row.details ?? changes.map(({ field }) => field) };
  });
}
