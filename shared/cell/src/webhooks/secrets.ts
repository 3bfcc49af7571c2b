import { createHmac } from "node:crypto";

/** The keys from which endpoints' secrets are derived; the first one is for new secrets. */
export type WebhookKeys = readonly [WebhookKey, ...WebhookKey[]];

interface WebhookKey {
  id: string;
  bytes: Buffer;
}

/** The stored reference to an endpoint's secret, from which it is derived. */
export interface SecretRef {
  webhookId: string;
  secretKeyId: string;
  secretNumber: number;
}

/** Parses `id:base64url[,id:base64url…]`, each with at least 32 bytes. Throws an Error that names the fault. */
export function parseWebhookKeys(text: string): WebhookKeys {
  const [first, ...others] = text.split(",").map((part) => {
    const [id, key] = part.trim().split(":");
    if (!id || !/^[A-Za-z0-9_-]{1,16}$/.test(id)) throw new Error("must be written id:base64url, by comma");
    const bytes = Buffer.from(key ?? "", "base64url");
    if (bytes.length < 32) throw new Error(`must hold 32 bytes or more in base64url for the key "${id}"`);
    return { id, bytes };
  });
  if (!first) throw new Error("there is no key");
  return [first, ...others];
}

/**
 * The secret of an endpoint in its receiver's form: `whsec_` and 32 bytes in base64. It is derived, so that neither the database nor a
 * stored response contains it, and a replayed create returns the same. Throws an Error if the key is unknown.
 */
export function secretOf(keys: WebhookKeys, tenantId: string, { webhookId, secretKeyId, secretNumber }: SecretRef): string {
  const key = keys.find(({ id }) => id === secretKeyId);
  if (!key) throw new Error(`the webhook key "${secretKeyId}" is not among WEBHOOK_KEYS`);
  const secret = createHmac("sha256", key.bytes).update(["webhook", tenantId, webhookId, secretNumber].join("\0")).digest("base64");
  return `whsec_${secret}`;
}

/** The headers of a delivery by the Standard Webhooks specification: one signature per valid secret. */
export function signatureHeaders(secrets: readonly string[], eventId: string, body: string, nowMs: number): Record<string, string> {
  const timestamp = String(Math.floor(nowMs / 1000));
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    return `v1,${createHmac("sha256", key).update(`${eventId}.${timestamp}.${body}`).digest("base64")}`;
  });
  return { "webhook-id": eventId, "webhook-timestamp": timestamp, "webhook-signature": signatures.join(" ") };
}
