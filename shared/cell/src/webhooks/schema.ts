import { z } from "zod";
import type { EventDefinition } from "../http/endpoint.ts";
import { nullable, text } from "../schema/fields.ts";
import { moment } from "../schema/moments.ts";
import { type Presenter, resource, response } from "../schema/resource.ts";
import type { EventCatalogue } from "./event-catalogue.ts";
import { payloadSchemaOf } from "./payload.ts";
import type { SecretRef } from "./secrets.ts";
import type { DeliveryStatus } from "./tables.ts";

export const deliveryStatuses = ["pending", "delivered", "failed"] as const satisfies readonly DeliveryStatus[];

/** The fields of an endpoint that a caller may set. */
function inputFields({ types, examples }: EventCatalogue) {
  return {
    url: text(2_000, 1).meta({
      description: "Where events are posted: https, an address of the public Internet",
      examples: [examples.url],
    }),
    events: z
      .array(z.enum([...types.map(({ type }) => type), "*"]))
      .min(1)
      .max(100)
      .overwrite((given) => [...new Set(given)])
      .meta({ description: "The subscribed events; `*` for all, including future ones", examples: [examples.types] }),
    description: nullable(text(500)).meta({ examples: ["The data warehouse"] }),
    enabled: z.boolean().meta({ description: "If false, no deliveries are made; missed events can be replayed", examples: [true] }),
  };
}

function webhookFields(input: ReturnType<typeof inputFields>) {
  return {
    webhookId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    ...input,
    disabledReason: z
      .enum(["failing", "gone"])
      .nullable()
      .meta({ description: "Why it was disabled automatically: only failures for five days, or a response 410 Gone" }),
    previousSecretUntil: z.iso.datetime().nullable().meta({ description: "The previous secret also signs until this time" }),
    failingSince: z.iso.datetime().nullable().meta({ description: "Time of the first failure since the last success" }),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  };
}

export type Webhook = Omit<z.infer<z.ZodObject<ReturnType<typeof webhookFields>>>, "tenantId">;

/** An endpoint with the reference to its secrets. */
export interface StoredWebhook extends Webhook, SecretRef {
  previousSecretKeyId: string | null;
}

export const webhookDeleted = response(z.object({ webhookId: z.uuid(), deleted: z.literal(true) }).meta({ id: "WebhookDeleted" }));

function deliveryFields({ types }: EventCatalogue) {
  return {
    deliveryId: z.uuid(),
    webhookId: z.uuid(),
    eventId: z.uuid().meta({ description: "The header `webhook-id`: the same at every attempt and replay" }),
    eventType: z.string().meta({ examples: [types[0].type] }),
    occurredAt: z.iso.datetime(),
    status: z.enum(deliveryStatuses),
    attempts: z.int(),
    nextAttemptAt: z.iso.datetime().nullable().meta({ description: "null if none is due" }),
    createdAt: z.iso.datetime(),
    finishedAt: z.iso.datetime().nullable(),
  };
}

export type Delivery = z.infer<z.ZodObject<ReturnType<typeof deliveryFields>>>;

const attemptSchema = z
  .object({
    attempt: z.int().meta({ description: "From 1; one whose process died is missing" }),
    startedAt: z.iso.datetime(),
    durationMs: z.int(),
    statusCode: z.int().nullable(),
    error: z
      .string()
      .nullable()
      .meta({ description: "Why there was no usable answer", examples: ["TIMEOUT"] }),
  })
  .meta({ id: "WebhookAttempt" });
export type Attempt = z.infer<typeof attemptSchema>;

export const replayInput = z
  .strictObject({
    from: moment().meta({
      description: "A time, or a date in the tenant's timezone: events that occurred from then on",
      examples: ["2026-01-31T00:00:00Z"],
    }),
    to: moment()
      .optional()
      .meta({ description: "And before then; by default now", examples: ["2026-02-01T00:00:00Z"] }),
  })
  .meta({ id: "WebhookReplayInput" });

export const replayed = response(
  z
    .object({ webhookId: z.uuid(), queued: z.int().meta({ description: "How many events will be sent, again or for the first time" }) })
    .meta({ id: "WebhookReplayed" }),
);

/** The resources and bodies whose schemas depend on a cell's events. */
export function webhookSchemas(catalogue: EventCatalogue, events: readonly EventDefinition[]) {
  const input = inputFields(catalogue);
  const fields = webhookFields(input);
  const webhook = resource("webhook", z.object(fields).meta({ id: "Webhook" }), { id: "webhookId", label: "url" });
  const deliveryShape = deliveryFields(catalogue);
  const deliverySchema = z.object(deliveryShape).meta({ id: "WebhookDelivery" });
  const secret = z.string().meta({
    description: "Signs the deliveries; shown here and never again",
    examples: ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAAAAAAAAA="],
  });
  const withSecretSchema = z.object({ ...fields, secret }).meta({ id: "WebhookWithSecret" });
  const payload = payloadSchemaOf(events).meta({ description: "What is posted" });
  return {
    webhook,
    webhookInput: z.strictObject(input).partial().required({ url: true, events: true }).meta({ id: "WebhookInput" }),
    webhookPatch: z.strictObject(input).partial().meta({ id: "WebhookPatch" }),
    delivery: resource("webhookDelivery", deliverySchema, { id: "deliveryId", label: "eventType" }),
    deliveryDetail: response(
      z.object({ ...deliveryShape, attemptLog: z.array(attemptSchema), payload }).meta({ id: "WebhookDeliveryDetail" }),
    ),
    /** The responses that show a secret. For replays only the reference is stored, from which the secret is derived again. */
    withSecret: (secretOf: (tenantId: string, place: SecretRef) => string): Presenter<StoredWebhook> => ({
      responseSchema: withSecretSchema,
      pick: ({ secretKeyId, secretNumber, ...row }, tenantId) =>
        ({ ...webhook.pick(row, tenantId), secretKeyId, secretNumber }) as StoredWebhook,
      present: (row, fieldAccess, tenantId) => ({ ...webhook.present(row, fieldAccess, tenantId), secret: secretOf(tenantId, row) }),
    }),
  };
}
