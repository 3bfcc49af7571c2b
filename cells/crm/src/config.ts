import { cellSettings, parseWebhookKeys } from "@cell/cell";
import { integer, list, parseNetworks, url } from "@cell/http";

/** Every environment variable of the CRM cell. */
export const crmSettings = {
  ...cellSettings({ port: 8001 }),
  webhookKeys: list("WEBHOOK_KEYS", {
    isRequired: true,
    isSecret: true,
    parse: parseWebhookKeys,
    meaning: "Keys from which webhooks' secrets are derived, each written id:base64url; the first one is for new secrets.",
  }),
  webhookLogDays: integer("WEBHOOK_LOG_DAYS", {
    default: 30,
    max: 36_500,
    unit: "days",
    meaning: "Retention of webhook deliveries.",
  }),
  outboundAllow: list("OUTBOUND_ALLOW", {
    parse: parseNetworks,
    whenUnset: "none",
    meaning: "Networks, such as 10.1.0.0/16,192.0.2.7, that webhooks may reach although they are not public, also by plain http.",
  }),
  messagingUrl: url("MESSAGING_URL", {
    whenUnset: "the 360 view says that conversations are unavailable",
    meaning: "Address of the messaging cell.",
  }),
};
