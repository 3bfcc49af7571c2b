import { createLogger, type Server, serve, stopOnSignals } from "@cell/http";
import { createCrm, createRegistry } from "./app.ts";
import { readConfig } from "./config.ts";

const config = readConfig();
const log = createLogger("crm", config.logLevel);
const registry = createRegistry({
  databaseUrl: config.databaseUrl,
  loginSecret: config.tenantLoginSecret,
  ...config.connections,
  statementTimeoutMs: config.statementTimeoutMs,
});
let server: Server | undefined;
const { app } = createCrm({
  registry,
  assertionKeys: config.assertionKeys,
  log,
  draining: () => server?.draining ?? false,
  committed: () => undefined,
});
server = await serve({
  fetch: app.fetch as never,
  host: config.host,
  port: config.port,
  log,
  requestTimeoutMs: 300_000,
  drainDelayMs: config.drainDelayMs,
  drainTimeoutMs: config.drainTimeoutMs,
  close: () => registry.close(),
});
stopOnSignals(server, log);
log.info({ url: server.url }, "ready");
