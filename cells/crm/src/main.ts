import { Sealer, SealLog, startSweeper } from "@cell/cell";
import { createLogger, type Server, serve, stopOnSignals } from "@cell/http";
import { createCrm, createRegistry, importers } from "./app.ts";
import { readConfig } from "./config.ts";
import { readConversationsAt } from "./customer-360/messaging.ts";
import { ImportRunner } from "./imports/runner.ts";

const config = readConfig();
const log = createLogger("crm", config.logLevel);
const registry = createRegistry({
  databaseUrl: config.databaseUrl,
  loginSecret: config.tenantLoginSecret,
  ...config.connections,
  statementTimeoutMs: config.statementTimeoutMs,
});
const sealLog = new SealLog(config.sealKeys.publicKeys, config.sealLog, log);
const sealer = new Sealer({ registry, keys: config.sealKeys, sealLog, log });
const importRunner = new ImportRunner({ registry, importers, log, committed: sealer.wake });
let server: Server | undefined;
const { app, metrics } = createCrm({
  registry,
  assertionKeys: config.assertionKeys,
  log,
  draining: () => server?.draining ?? false,
  committed: sealer.wake,
  sealWitness: sealLog,
  readConversations: readConversationsAt(config.messagingUrl, config.assertionKeys),
  wakeImports: (tenantId) => importRunner.wake(tenantId),
});
sealer.register(metrics.registry);
server = await serve({
  fetch: app.fetch as never,
  host: config.host,
  port: config.port,
  log,
  requestTimeoutMs: 300_000,
  drainDelayMs: config.drainDelayMs,
  drainTimeoutMs: config.drainTimeoutMs,
  async close() {
    await importRunner.stop();
    await Promise.all([sealer.stop(), sweeper.stop()]);
    await registry.close();
  },
});
sealer.start();
importRunner.start();
const sweeper = startSweeper(registry, log);
stopOnSignals(server, log);
log.info({ url: server.url }, "ready");
