import { type AuditEntry, type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { ListRunner } from "../lists/lists.ts";
import type { Resource } from "../schema/resource.ts";
import type { Event } from "./payload.ts";
import { type Attempt, type Delivery, deliveryStatuses } from "./schema.ts";
import { db, type WebhookTables } from "./tables.ts";

type WithTrail = WebhookTables & { auditLogs: AuditEntry & { seq: number } };
const withTrail = tenantTables<WithTrail>();

const columns = [
  "deliveryId",
  "webhookId",
  "eventId",
  "eventType",
  "occurredAt",
  "status",
  "attempts",
  "nextAttemptAt",
  "createdAt",
  "finishedAt",
] as const;

const all = () => db.selectFrom("webhookDeliveries").select(columns).$castTo<Delivery>();

const byId = statement((p: Parameters<{ webhookId: string; deliveryId: string }>) =>
  all().where("deliveryId", "=", p.deliveryId).where("webhookId", "=", p.webhookId),
);

const attemptsOf = statement((p: Parameters<{ deliveryId: string }>) =>
  db
    .selectFrom("webhookAttempts")
    .select(["attempt", "startedAt", "durationMs", "statusCode", "error"])
    .where("deliveryId", "=", p.deliveryId)
    .orderBy("attempt"),
);

/** The audit entry of a delivery, as JSON; null for a test event. */
const entry = sql<Event["entry"]>`json_build_object('id', id, 'seq', seq, 'action', action, 'resourceType', resource_type,
  'resourceId', resource_id, 'resourceName', resource_name, 'resourceVersion', resource_version, 'changes', changes,
  'requestId', request_id, 'actorId', actor_id, 'importId', import_id)`;

const entryOf = () =>
  withTrail.selectFrom("auditLogs").select(entry.as("entry")).whereRef("auditLogs.seq", "=", sql`webhook_deliveries.audit_seq`);

/** The audit entry of a delivery, selected as `entry`. */
export const event = () => sql<Event["entry"]>`(${entryOf()})`.as("entry");

const eventOf = statement((p: Parameters<{ deliveryId: string }>) =>
  db.selectFrom("webhookDeliveries").select(["eventId", "eventType", "occurredAt", event()]).where("deliveryId", "=", p.deliveryId),
);

export function find(tenant: TenantDb, webhookId: string, deliveryId: string): Promise<Delivery | undefined> {
  return tenant.first(byId, { webhookId, deliveryId });
}

/** The attempts of a delivery, oldest first. */
export function attempts(tenant: TenantDb, deliveryId: string): Promise<Attempt[]> {
  return tenant.query(attemptsOf, { deliveryId });
}

/** The event of a delivery. */
export async function eventIn(tenant: TenantDb, deliveryId: string): Promise<Event | undefined> {
  return tenant.first(eventOf, { deliveryId });
}

/** The lists of a cell's deliveries; `types`: the possible event types. */
export function deliveryLists(delivery: Resource<Delivery>, types: readonly string[]): ListRunner<Delivery> {
  return new ListRunner<Delivery>({
    resource: delivery,
    select: all,
    id: "deliveryId",
    defaultSort: "-createdAt",
    visibleTo: () => ({ cacheKey: "everyone's", values: [], sql: () => sql<boolean>`true` }),
    fields: {
      deliveryId: { type: "uuid" },
      eventId: { type: "uuid" },
      eventType: { type: "text", values: types },
      status: { type: "text", values: deliveryStatuses },
      attempts: { type: "integer" },
      occurredAt: { type: "time" },
      createdAt: { type: "time", sort: true },
    },
  });
}
