import { text } from "node:stream/consumers";
import { Dispatcher, parseWebhookKeys } from "@cell/cell";
import { createLogger, Outbound, parseNetworks } from "@cell/http";
import type { TenantLogins } from "@cell/postgres";
// Registers the records' schemas: without them everything in an event is masked.
import "../../app.ts";
import { createRegistry } from "../../testing/registry.ts";
import { webhooks } from "../event-catalogue.ts";

/** Its settings, from standard input. */
interface ReportedDelivery {
  databaseUrl: string;
  loginSecret: string;
  logins: TenantLogins;
  tenantId: string;
  leaseMs: number;
}

// A process that only sends one tenant's webhooks, to be killed by a test.
const { databaseUrl, loginSecret, logins, tenantId, leaseMs } = JSON.parse(await text(process.stdin)) as ReportedDelivery;
const dispatcher = new Dispatcher({
  webhooks,
  registry: createRegistry({ databaseUrl, loginSecret, logins, total: 4, perTenant: 4, statementTimeoutMs: 10_000 }),
  outbound: new Outbound({ allow: parseNetworks("127.0.0.0/8") }),
  keys: parseWebhookKeys(`test:${Buffer.alloc(32, 5).toString("base64url")}`),
  retentionDays: 30,
  leaseMs,
  log: createLogger("webhooks", "warn"),
  committed: () => undefined,
});
dispatcher.changed(tenantId);
// The dispatcher does not keep the process alive.
setInterval(() => undefined, 1_000);
