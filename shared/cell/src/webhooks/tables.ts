import { tenantTables } from "@cell/postgres";

export interface WebhookTables {
  webhooks: WebhooksTable;
  webhookDeliveries: WebhookDeliveriesTable;
  webhookAttempts: WebhookAttemptsTable;
}

export interface WebhooksTable {
  webhookId: string;
  url: string;
  /** Types of events; `*` stands for all. */
  events: string[];
  description: string | null;
  enabled: boolean;
  /** Why it was disabled by itself. */
  disabledReason: "failing" | "gone" | null;
  /** The key from which its secret follows, and the secret's number: no secret is stored. */
  secretKeyId: string;
  secretNumber: number;
  /** The key of the secret before, which has the number before. */
  previousSecretKeyId: string | null;
  /** Until then the secret before signs too. */
  previousSecretUntil: string | null;
  /** The audit entry up to which its deliveries have been made. */
  positionTransaction: string;
  positionSeq: string;
  /** When the first of the failures happened that no success has followed. */
  failingSince: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
}

export type DeliveryStatus = "pending" | "delivered" | "failed";

export interface WebhookDeliveriesTable {
  deliveryId: string;
  webhookId: string;
  /** The same for all endpoints, attempts and replays. */
  eventId: string;
  eventType: string;
  /** The entry of the trail that it tells of; null for a test event. */
  auditSeq: number | null;
  occurredAt: string;
  status: DeliveryStatus;
  /** In all. */
  attempts: number;
  /** Since it was made or last replayed. */
  tries: number;
  /** While an attempt is under way: when another process may take it over. */
  nextAttemptAt: string | null;
  createdAt: string;
  finishedAt: string | null;
}

export interface WebhookAttemptsTable {
  deliveryId: string;
  attempt: number;
  startedAt: string;
  durationMs: number;
  statusCode: number | null;
  error: string | null;
}

export const db = tenantTables<WebhookTables>();
