import { tenantTables } from "@cell/postgres";

export interface WebhookTables {
  webhooks: WebhooksTable;
  webhookDeliveries: WebhookDeliveriesTable;
  webhookAttempts: WebhookAttemptsTable;
}

export interface WebhooksTable {
  webhookId: string;
  url: string;
  /** Types of events; `*` is all. */
  events: string[];
  description: string | null;
  enabled: boolean;
  /** Why it was disabled automatically. */
  disabledReason: "failing" | "gone" | null;
  /** The key from which its secret is derived, and the secret's number: secrets are not stored. */
  secretKeyId: string;
  secretNumber: number;
  /** The key of the previous secret, which has the previous number. */
  previousSecretKeyId: string | null;
  /** The previous secret also signs until this time. */
  previousSecretUntil: string | null;
  /** The audit entry up to which its deliveries exist. */
  positionTransaction: string;
  positionSeq: string;
  /** Time of the first failure since the last success. */
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
  /** The audit entry of the event; null for a test event. */
  auditSeq: number | null;
  occurredAt: string;
  status: DeliveryStatus;
  /** Total number. */
  attempts: number;
  /** Since it was created or last replayed. */
  tries: number;
  /** During an attempt: when another process may take it over. */
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
