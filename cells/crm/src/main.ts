import { Dispatcher, HardeningMonitor, Sealer, SealLog, startSweeper } from "@cell/cell";
import { configure, Outbound, type Server, StartRefused, serve, serveMetrics, startLog, stopOnSignals, version } from "@cell/http";
import { createCrm, importers } from "./app.ts";
import { readConfig } from "./config.ts";
import { readConversationsAt } from "./customer-360/messaging.ts";
import { ImportRunner } from "./imports/runner.ts";
import { createRegistry, requireUsable } from "./registry.ts";
import { webhooks } from "./webhooks/event-catalogue.ts";

const log = startLog("crm");
const config = configure(log, readConfig);
const registry = createRegistry({
  databaseUrl: config.databaseUrl,
  loginSecret: config.tenantLoginSecret,
  ...config.connections,
  logins: config.logins,
  statementTimeoutMs: config.statementTimeoutMs,
});
// Runs in parallel with the rest of the start. A database that is not reachable for a moment must not keep the cell from starting.
const usable = requireUsable(registry).catch((error) => {
  if (error instanceof StartRefused) throw error;
  log.warn({ err: error }, "the database does not respond");
});
const sealLog = new SealLog(config.sealKeys.publicKeys, config.sealLog, log);
const sealer = new Sealer({ registry, keys: config.sealKeys, sealLog, log });
const hardening = new HardeningMonitor(registry, log);
const outbound = new Outbound({ allow: config.outboundAllow });
const dispatcher = new Dispatcher({
  webhooks,
  registry,
  outbound,
  keys: config.webhookKeys,
  retentionDays: config.webhookLogDays,
  log,
  committed: sealer.wake,
});
const committed = (tenantId: string) => {
  sealer.wake(tenantId);
  dispatcher.wake(tenantId);
};
const importRunner = new ImportRunner({ registry, importers, log, requests: () => metrics.begun, committed });
let server: Server | undefined;
const { app, metrics } = createCrm({
  registry,
  assertionKeys: config.assertionKeys,
  metricsToken: config.metrics.port === undefined ? config.metrics.token : undefined,
  log,
  draining: () => server?.draining ?? false,
  sealingProblems: () => sealer.problems(),
  files: config.files,
  openDoors: () => hardening.count,
  committed,
  sealWitness: sealLog,
  adoptTrail: (tenantId) => sealer.adopt(tenantId),
  endTrail: (tenantId) => sealer.end(tenantId),
  readConversations: readConversationsAt(config.messagingUrl, config.assertionKeys),
  wakeImports: (tenantId) => importRunner.wake(tenantId),
  webhooks: { outbound, keys: config.webhookKeys, changed: dispatcher.changed },
});
sealer.register(metrics.registry);
dispatcher.register(metrics.registry);
hardening.register(metrics.registry);
await usable;
const { port: metricsPort, token } = config.metrics;
const metricsServer =
  metricsPort === undefined ? undefined : await serveMetrics(metrics.registry, config.host, { port: metricsPort, token });
server = await serve({
  fetch: app.fetch,
  host: config.host,
  port: config.port,
  log,
  requestTimeoutMs: 300_000,
  drainDelayMs: config.drainDelayMs,
  drainTimeoutMs: config.drainMs,
  async close() {
    await metricsServer?.stop();
    await importRunner.stop();
    await dispatcher.stop();
    outbound.close();
    await Promise.all([sealer.stop(), sweeper.stop(), hardening.stop()]);
    await registry.close();
  },
});
sealer.start();
importRunner.start();
dispatcher.start();
const sweeper = startSweeper(registry, log);
hardening.start();
stopOnSignals(server, log);
log.info({ version, url: server.url, metrics: metricsServer?.url ?? `${server.url}/metrics` }, "ready");
