import { configure, StartRefused, startLog, stopOnSignals, version } from "@cell/http";
import { UnusableDatabase } from "@cell/postgres/versions";
import { readConfig } from "./config.ts";
import { startGateway } from "./gateway.ts";

const log = startLog("gateway");
const config = configure(log, readConfig);
const server = await startGateway(config, log).catch((error) => {
  throw error instanceof UnusableDatabase ? new StartRefused(error.message) : error;
});
stopOnSignals(server, log);
log.info({ version, url: server.url, metrics: server.metricsUrl }, "listening");
