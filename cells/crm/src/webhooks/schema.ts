import { moment, nullable, type Presenter, resource, response, text } from "@cell/cell";
import { z } from "zod";
import type { DeliveryStatus } from "../tables.ts";
import { eventTypes } from "./domain.ts";
import { eventPayload } from "./events.ts";
import type { SecretRef } from "./secrets.ts";

export const deliveryStatuses = ["pending", "delivered", "failed"] as const satisfies readonly DeliveryStatus[];

const exampleUrl = "https://hooks.example.com/crm";

const events = z
  .array(z.enum([...eventTypes, "*"]))
  .min(1)
  .max(100)
  .overwrite((types) => [...new Set(types)])
  .meta({
    description: "The events to be told of; `*` for all, those to come included",
    examples: [["customer.created", "opportunity.won"]],
  });

/** What an endpoint can be given by a caller. */
const fields = {
  url: text(2_000, 1).meta({ description: "Where events are posted: https, an address of the public Internet", examples: [exampleUrl] }),
  events,
  description: nullable(text(500)).meta({ examples: ["The data warehouse"] }),
  enabled: z.boolean().meta({ description: "While it is not, no deliveries are made; what was missed can be replayed", examples: [true] }),
};

const webhookFields = {
  webhookId: z.uuid(),
  tenantId: z.string().meta({ examples: ["tenant-001"] }),
  ...fields,
  disabledReason: z
    .enum(["failing", "gone"])
    .nullable()
    .meta({ description: "Why it was disabled by itself: five days of nothing but failures, or an answer 410 Gone" }),
  previousSecretUntil: z.iso.datetime().nullable().meta({ description: "Until then the secret before the last one signs too" }),
  failingSince: z.iso.datetime().nullable().meta({ description: "Since when there were only failures" }),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  version: z.int(),
};

const webhookSchema = z.object(webhookFields).meta({ id: "Webhook" });

export const webhook = resource("webhook", webhookSchema, { id: "webhookId", label: "url" });
export type Webhook = Omit<z.infer<typeof webhookSchema>, "tenantId">;

/** An endpoint with the place of its secrets. */
export interface StoredWebhook extends Webhook, SecretRef {
  previousSecretKeyId: string | null;
}

const withSecretSchema = z
  .object({
    ...webhookFields,
    secret: z.string().meta({
      description: "Signs the deliveries; shown here and never again",
      examples: ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAAAAAAAAA="],
    }),
  })
  .meta({ id: "WebhookWithSecret" });

/** The answers that show a secret: what is kept for a repeat holds its place alone, out of which it is worked out again. */
export function withSecret(secretOf: (tenantId: string, place: SecretRef) => string): Presenter<StoredWebhook> {
  return {
    responseSchema: withSecretSchema,
    pick: ({ secretKeyId, secretNumber, ...row }, tenantId) =>
      ({ ...webhook.pick(row, tenantId), secretKeyId, secretNumber }) as StoredWebhook,
    present: (row, fieldAccess, tenantId) => ({ ...webhook.present(row, fieldAccess, tenantId), secret: secretOf(tenantId, row) }),
  };
}

export const webhookInput = z.strictObject(fields).partial().required({ url: true, events: true }).meta({ id: "WebhookInput" });

export const webhookPatch = z.strictObject(fields).partial().meta({ id: "WebhookPatch" });

export const webhookDeleted = response(z.object({ webhookId: z.uuid(), deleted: z.literal(true) }).meta({ id: "WebhookDeleted" }));

const deliveryFields = {
  deliveryId: z.uuid(),
  webhookId: z.uuid(),
  eventId: z.uuid().meta({ description: "The header `webhook-id`: the same at every attempt and replay" }),
  eventType: z.string().meta({ examples: ["customer.created"] }),
  occurredAt: z.iso.datetime(),
  status: z.enum(deliveryStatuses),
  attempts: z.int(),
  nextAttemptAt: z.iso.datetime().nullable().meta({ description: "null where none is due" }),
  createdAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().nullable(),
};

const deliverySchema = z.object(deliveryFields).meta({ id: "WebhookDelivery" });
export const delivery = resource("webhookDelivery", deliverySchema, { id: "deliveryId", label: "eventType" });
export type Delivery = z.infer<typeof deliverySchema>;

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

export const deliveryDetail = response(
  z
    .object({
      ...deliveryFields,
      attemptLog: z.array(attemptSchema),
      payload: eventPayload.meta({ description: "What is posted" }),
    })
    .meta({ id: "WebhookDeliveryDetail" }),
);

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
