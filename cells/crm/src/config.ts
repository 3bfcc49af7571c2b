import { type CellConfig, cellSettings, parseWebhookKeys, readCellConfig, type WebhookKeys } from "@cell/cell";
import { type Environment, integer, list, type Networks, parseNetworks, url, type Warn } from "@cell/http";

export interface Config extends CellConfig {
  /** Where the messaging cell is; undefined where there is none. */
  messagingUrl: string | undefined;
  /** The secrets of webhooks follow from them. */
  webhookKeys: WebhookKeys;
  /** How long deliveries of webhooks are kept. */
  webhookLogDays: number;
  /** Networks to which webhooks may lead though they are not public, by plain http too; undefined: none. */
  outboundAllow: Networks | undefined;
}

/** Every environment variable that the CRM cell reads. */
export const crmSettings = {
  ...cellSettings({ port: 8001 }),
  webhookKeys: list("WEBHOOK_KEYS", {
    isRequired: true,
    isSecret: true,
    parse: parseWebhookKeys,
    meaning: "Keys from which the webhooks' secrets follow, each written id:base64url; the first one is for new secrets.",
  }),
  webhookLogDays: integer("WEBHOOK_LOG_DAYS", {
    default: 30,
    max: 36_500,
    unit: "days",
    meaning: "Time for which deliveries of webhooks are kept.",
  }),
  outboundAllow: list("OUTBOUND_ALLOW", {
    parse: parseNetworks,
    whenUnset: "none",
    meaning: "Networks, such as 10.1.0.0/16,192.0.2.7, that webhooks may reach though they are not public, by plain http too.",
  }),
  messagingUrl: url("MESSAGING_URL", {
    whenUnset: "the 360 view says that conversations are unavailable",
    meaning: "Address of the messaging cell.",
  }),
};

/** The CRM cell's configuration. Throws a StartRefused that names every variable that is missing or wrong. */
export function readConfig(env?: Environment, warn?: Warn): Config {
  const { values, ...config } = readCellConfig(crmSettings, env, warn);
  const { messagingUrl, webhookKeys, webhookLogDays, outboundAllow } = values;
  return { ...config, messagingUrl, webhookKeys, webhookLogDays, outboundAllow };
}
