import type { TenantDb } from "@cell/postgres";
import { badField, notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import type { AuditDraft } from "../audit/entries.ts";
import { assertWindow, instantOf } from "../calendar.ts";
import type { Cell } from "../cell-types.ts";
import { endpoint, idParams } from "../http/endpoint.ts";
import { equals } from "../lists/conditions.ts";
import { checkKnown } from "../lists/field-types.ts";
import { listQuery, listResponse } from "../lists/list-query.ts";
import { id } from "../schema/fields.ts";
import { listOf, resources } from "../schema/resource.ts";
import { conventionsOf } from "../settings/stored.ts";
import * as trail from "./audit-source.ts";
import * as deliveries from "./deliveries.ts";
import * as queue from "./delivery-queue.ts";
import { pingType } from "./event-catalogue.ts";
import { newDeliveries } from "./outbox.ts";
import { payloadOf } from "./payload.ts";
import * as endpoints from "./repository.ts";
import { type Delivery, deliveryStatuses, replayed, replayInput, type StoredWebhook } from "./schema.ts";
import type { Webhooks } from "./webhooks.ts";

const tag = "Webhooks";
const mostReplayed = 10_000;

const deliveryParams = idParams.extend({
  deliveryId: id().meta({ description: "The delivery's id", examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c11"] }),
});

const replayTime = endpoint({
  method: "post",
  path: "/webhooks/{id}/replay",
  permission: "tenant:admin",
  isTenantWide: true,
  tag,
  summary: "Send the events of a time window, again or for the first time",
  description: `Reads the audit trail, so that events from before the webhook existed or while it was disabled are included. At most ${mostReplayed} changes.`,
  params: idParams,
  body: replayInput,
  status: 202,
  response: replayed,
  visibility: "everyone",
});

/** The routes of deliveries, whose schemas depend on the cell's events. */
function deliveryEndpoints({ delivery, deliveryDetail, catalogue }: Webhooks) {
  return {
    listDeliveries: endpoint({
      method: "get",
      path: "/webhooks/{id}/deliveries",
      operationId: "webhooks.listDeliveries",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "List a webhook's deliveries, newest first",
      params: idParams,
      query: listQuery.extend({
        status: z.enum(deliveryStatuses).optional().meta({ description: "Only deliveries in this status" }),
        eventType: z
          .string()
          .max(100)
          .optional()
          .meta({ description: "Only events of this type", examples: [catalogue.types[0].type] }),
      }),
      status: 200,
      response: listOf(delivery, listResponse(delivery)),
    }),
    getDelivery: endpoint({
      method: "get",
      path: "/webhooks/{id}/deliveries/{deliveryId}",
      operationId: "webhooks.getDelivery",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Read a delivery with its attempts and its body",
      description: "Of a receiver's response only the status is stored, since the body may contain anything.",
      params: deliveryParams,
      status: 200,
      response: deliveryDetail,
    }),
    replayDelivery: endpoint({
      method: "post",
      path: "/webhooks/{id}/deliveries/{deliveryId}/replay",
      operationId: "webhooks.replayDelivery",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Repeat a delivery with the same event id",
      params: deliveryParams,
      status: 202,
      response: delivery,
      visibility: "everyone",
    }),
    testWebhook: endpoint({
      method: "post",
      path: "/webhooks/{id}/test",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: `Send the event ${pingType}`,
      params: idParams,
      status: 202,
      response: delivery,
      visibility: "everyone",
    }),
  };
}

/** Routes of webhook deliveries. `woken`: wakes the dispatcher after one was queued. */
export function deliveryRoutes(cell: Cell, webhooks: Webhooks, woken: (tenantId: string) => void): void {
  const { listDeliveries, getDelivery, replayDelivery, testWebhook } = deliveryEndpoints(webhooks);
  cell.list(listDeliveries, webhooks.deliveryLists, {
    conditions: async ({ params, query: { status, eventType }, tenant }) => {
      await existing(tenant.reader(), params.id);
      if (eventType !== undefined) await checkKnown("eventType", webhooks.deliveredTypes, [eventType], tenant);
      return Object.entries({ webhookId: params.id, status, eventType }).flatMap(([field, value]) =>
        value === undefined ? [] : [equals(field, value)],
      );
    },
  });

  cell.read(getDelivery, "Delivery", async ({ params: { id, deliveryId } }, tenant) => {
    await existing(tenant, id);
    const found = await deliveries.find(tenant, id, deliveryId);
    const [attemptLog, event] = await Promise.all([deliveries.attempts(tenant, deliveryId), deliveries.eventIn(tenant, deliveryId)]);
    if (!found || !event) return undefined;
    const payload = payloadOf(event, tenant.tenantId, resources.get(event.entry?.resourceType ?? ""));
    return { ...found, attemptLog, payload: { ...payload } };
  });

  cell.command(replayDelivery, async ({ params: { id, deliveryId }, now }, tx) => {
    const endpointRow = await sendable(tx, id);
    const current = await deliveries.find(tx, id, deliveryId);
    if (!current) throw notFound("Delivery");
    if (current.status === "pending") return { changes: [], audit: [], body: current, resourceId: deliveryId };
    return {
      changes: [queue.requeue(tx, deliveryId)],
      audit: [sentByHand(endpointRow, { deliveryId, eventType: current.eventType })],
      body: { ...current, status: "pending" as const, nextAttemptAt: now, finishedAt: null },
      committed: () => woken(tx.tenantId),
    };
  });

  cell.command(replayTime, async (context, tx) => {
    const endpointRow = await sendable(tx, context.params.id);
    const { timezone } = await conventionsOf(context.tenant);
    const from = instantOf(context.body.from, timezone);
    const to = context.body.to === undefined ? context.now : instantOf(context.body.to, timezone);
    if (context.body.to === undefined && from >= to) throw badField("from", "OUT_OF_RANGE", "must be in the past");
    assertWindow(from, to, "to");
    const entries = await trail.within(tx, from, to, mostReplayed + 1);
    if (entries.length > mostReplayed)
      throw badField("to", "TOO_LONG", `ends a time window of more than ${mostReplayed} changes: choose a shorter one`);
    const rows = newDeliveries(entries, endpointRow.events, webhooks.catalogue);
    const body = { webhookId: context.params.id, queued: rows.length };
    if (rows.length === 0) return { changes: [], audit: [], body, resourceId: context.params.id };
    return {
      changes: [queue.queue(tx, context.params.id, rows)],
      audit: [sentByHand(endpointRow, { from, to, queued: rows.length })],
      body,
      committed: () => woken(tx.tenantId),
    };
  });

  cell.command(testWebhook, async ({ params, now }, tx) => {
    const endpointRow = await sendable(tx, params.id);
    const made = { deliveryId: uuidv7(), eventId: uuidv7(), eventType: pingType, auditSeq: null, occurredAt: now };
    const { auditSeq: _none, ...shown } = made;
    const body: Delivery = {
      ...shown,
      webhookId: params.id,
      status: "pending",
      attempts: 0,
      nextAttemptAt: now,
      createdAt: now,
      finishedAt: null,
    };
    return {
      changes: [queue.queue(tx, params.id, [made])],
      audit: [sentByHand(endpointRow, { deliveryId: made.deliveryId, eventType: pingType })],
      body,
      committed: () => woken(tx.tenantId),
    };
  });
}

async function existing(tenant: TenantDb, webhookId: string): Promise<StoredWebhook> {
  const found = await endpoints.find(tenant, webhookId);
  if (!found) throw notFound("Webhook");
  return found;
}

async function sendable(tenant: TenantDb, webhookId: string): Promise<StoredWebhook> {
  const found = await existing(tenant, webhookId);
  if (!found.enabled) throw new Problem("CONFLICT", "The webhook is disabled: enable it first");
  return found;
}

/** Data sent at a person's request are audited like an export. */
function sentByHand({ webhookId, url }: StoredWebhook, recorded: object): AuditDraft {
  const changes = Object.entries(recorded).map(([field, after]) => ({ field, before: null, after }));
  return { action: "export", resourceType: "webhook", resourceId: webhookId, resourceName: url, resourceVersion: null, changes };
}
