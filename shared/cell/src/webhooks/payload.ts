import { z } from "zod";
import type { EventDefinition } from "../http/endpoint.ts";
import { mask } from "../schema/masking.ts";
import type { Resource } from "../schema/resource.ts";
import { type EventCatalogue, type EventType, pingType, type TrailEntry } from "./event-catalogue.ts";

/** The body of an event. Receivers fetch whole records by the API, which checks their permissions. */
export interface Payload {
  id: string;
  type: string;
  occurredAt: string;
  tenantId: string;
  data: object;
}

/** A queued event, with its audit entry; null if there is none. */
export interface Event {
  eventId: string;
  eventType: string;
  occurredAt: string;
  entry: (TrailEntry & Details) | null;
}

interface Details {
  seq: number;
  resourceId: string;
  resourceName: string | null;
  resourceVersion: number | null;
  requestId: string;
  actorId: string;
  importId: string | null;
}

/** The body of a delivery, masked as in lists. For a resource that no longer exists, everything is masked. */
export function payloadOf(event: Event, tenantId: string, of: Pick<Resource, "sensitive"> | undefined): Payload {
  const { eventId: id, eventType: type, occurredAt, entry } = event;
  if (!entry) return { id, type, occurredAt, tenantId, data: {} };
  const { resourceType, resourceId, resourceName, resourceVersion, requestId, actorId, importId, seq } = entry;
  const changes = entry.changes.map((change) => {
    const kind = of ? of.sensitive[change.field] : "amount";
    return kind ? { ...change, before: mask(kind, change.before), after: mask(kind, change.after) } : change;
  });
  const data = { resourceType, resourceId, resourceName, resourceVersion, changes, requestId, actorId, importId, sequence: seq };
  return { id, type, occurredAt, tenantId, data };
}

const envelope = {
  id: z.uuid().meta({ description: "The event's id, as in the header `webhook-id`" }),
  occurredAt: z.iso.datetime(),
  tenantId: z.string(),
};

const changesSchema = z.array(z.object({ field: z.string(), before: z.unknown(), after: z.unknown() }));

function payloadSchema({ type, exampleChanges }: EventType, resourceName: string) {
  const [resourceType = ""] = type.split(".");
  const data = z.object({
    resourceType: z.literal(resourceType),
    resourceId: z.string().meta({ description: "Its id: read the record by the API", examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
    resourceName: z
      .string()
      .nullable()
      .meta({ description: "Its name at the time", examples: [resourceName] }),
    resourceVersion: z
      .int()
      .nullable()
      .meta({ description: "Its version after the change: an event of a lower one came late", examples: [2] }),
    changes: changesSchema.meta({
      description: "The fields that changed. Phone numbers, e-mail addresses and amounts are masked",
      examples: [exampleChanges ?? [{ field: "name", before: null, after: resourceName }]],
    }),
    requestId: z.string().meta({ description: "The request that made the change" }),
    actorId: z.string().meta({ description: "The user who made the change" }),
    importId: z
      .uuid()
      .nullable()
      .meta({ description: "The import that made the change", examples: [null] }),
    sequence: z.int().meta({ description: "The change's number in the audit trail: it orders the events of a tenant" }),
  });
  return z.object({ ...envelope, type: z.literal(type), data }).meta({ id: `${pascalCase(type)}Event` });
}

/** `opportunity.stage_changed` is `OpportunityStageChanged`. */
function pascalCase(type: string): string {
  return type.replace(/(?:^|[._])([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

const pingSchema = z.object({ ...envelope, type: z.literal(pingType), data: z.object({}) }).meta({ id: "WebhookPingEvent" });

/** The events that endpoints receive, for the document. */
export function eventDefinitions({ types, examples }: EventCatalogue): EventDefinition[] {
  return [
    ...types.map((event) => ({ type: event.type, summary: event.summary, payload: payloadSchema(event, examples.resourceName) })),
    { type: pingType, summary: "A test: POST /webhooks/{id}/test sends it to one endpoint", payload: pingSchema },
  ];
}

/** The schema of what is posted to an endpoint. */
export function payloadSchemaOf(definitions: readonly EventDefinition[]): z.ZodType<Payload> {
  const [first, ...others] = definitions.map(({ payload }) => payload as typeof pingSchema);
  // Zod cannot infer a union from schemas made in a loop.
  return z.discriminatedUnion("type", [first as typeof pingSchema, ...others]) as unknown as z.ZodType<Payload>;
}
