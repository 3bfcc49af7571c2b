import type { EventDefinition } from "@cell/cell";
import { z } from "zod";
import { type EventType, eventTypes, type Payload, pingType } from "./domain.ts";

const summaries: Record<EventType, string> = {
  "customer.created": "A customer was created",
  "customer.updated": "A customer was changed",
  "customer.deleted": "A customer was deleted",
  "customer.restored": "A deleted customer was restored",
  "customer.merged": "Customers were merged: one event for the survivor, and one for each customer that is part of it now",
  "contact.created": "A contact was created",
  "contact.updated": "A contact was changed",
  "contact.deleted": "A contact was deleted",
  "pipeline.created": "A pipeline was created",
  "pipeline.updated": "A pipeline was changed",
  "opportunity.created": "An opportunity was created",
  "opportunity.updated": "An opportunity was changed",
  "opportunity.deleted": "An opportunity was deleted",
  "opportunity.stage_changed": "An opportunity moved to another stage or pipeline",
  "opportunity.won": "An opportunity was won",
  "opportunity.lost": "An opportunity was lost",
  "contract.created": "A contract was created",
  "contract.updated": "A contract was changed",
  "contract.deleted": "A contract was deleted",
  "payment.registered": "A payment or a refund was registered",
  "payment.voided": "A payment was voided",
  "import.completed": "An import was completed",
  "import.reverted": "An import was reverted",
  "settings.updated": "The tenant's settings were changed",
};

/** What an event's changes look like, in its example. */
const exampleChanges: Partial<Record<EventType, object[]>> = {
  "customer.updated": [{ field: "status", before: "lead", after: "active" }],
  "opportunity.stage_changed": [
    { field: "stage", before: "qualification", after: "proposal" },
    { field: "probability", before: 20, after: 50 },
  ],
  "opportunity.won": [{ field: "status", before: "open", after: "won" }],
  "opportunity.lost": [{ field: "status", before: "open", after: "lost" }],
  "payment.voided": [{ field: "status", before: "received", after: "void" }],
};

const envelope = {
  id: z.uuid().meta({ description: "The event's id, as in the header `webhook-id`" }),
  occurredAt: z.iso.datetime(),
  tenantId: z.string(),
};

const changesSchema = z.array(z.object({ field: z.string(), before: z.unknown(), after: z.unknown() }));

function payloadSchema(type: EventType) {
  const [resourceType = ""] = type.split(".");
  const data = z.object({
    resourceType: z.literal(resourceType),
    resourceId: z.string().meta({ description: "Its id: read the record by the API", examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
    resourceName: z
      .string()
      .nullable()
      .meta({ description: "Its name at the time", examples: ["某某公司"] }),
    resourceVersion: z
      .int()
      .nullable()
      .meta({ description: "Its version after the change: an event of a lower one came late", examples: [2] }),
    changes: changesSchema.meta({
      description: "The fields that changed. Phone numbers, e-mail addresses and amounts are masked",
      examples: [exampleChanges[type] ?? [{ field: "name", before: null, after: "某某公司" }]],
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
export const events: readonly EventDefinition[] = [
  ...eventTypes.map((type) => ({ type, summary: summaries[type], payload: payloadSchema(type) })),
  { type: pingType, summary: "A test: POST /webhooks/{id}/test sends it to one endpoint", payload: pingSchema },
];

const [first, ...others] = events.map(({ payload }) => payload as typeof pingSchema);

/** What is posted to an endpoint. */
export const eventPayload = z.discriminatedUnion("type", [first as typeof pingSchema, ...others]) as unknown as z.ZodType<Payload>;
