import { createLogger, stopOnSignals } from "@cell/http";
import { type Config, readConfig } from "./config.ts";
import { startGateway } from "./gateway.ts";

const config = configOrExit();
const log = createLogger("gateway", config.logLevel);
const server = await startGateway(config, log);
stopOnSignals(server, log);
log.info({ url: server.url }, "listening");

function configOrExit(): Config {
  try {
    return readConfig();
  } catch (error) {
    process.stderr.write(`The gateway cannot start: ${(error as Error).message}\n`);
    process.exit(2);
  }
}
