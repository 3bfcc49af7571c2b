import { type Environment, processEnvironment, type Warn } from "./env.ts";
import { createLogger, type Logger } from "./log.ts";
import { StartRefused } from "./start-refused.ts";

/** A setting is invalid or missing, or cannot be used. */
const refusedExitCode = 2;

/**
 * Creates the log of a process. It also writes Node's warnings and the error that ends the process as JSON lines, which Node would print as
 * text. Call it once, before anything else.
 */
export function startLog(name: string): Logger {
  const log = createLogger(name, "info");
  process.removeAllListeners("warning");
  process.on("warning", (warning) => log.warn({ err: warning }, warning.message));
  process.on("uncaughtException", (error) => {
    if (error instanceof StartRefused) log.fatal(error.message);
    else log.fatal({ err: error }, "an uncaught error ends the process");
    process.exit(error instanceof StartRefused ? refusedExitCode : 1);
  });
  return log;
}

/** Reads a program's configuration from its environment and sets the log's level by it. Throws what `read` throws. */
export function configure<Config extends { logLevel: string }>(log: Logger, read: (env: Environment, warn: Warn) => Config): Config {
  const config = read(processEnvironment, (message) => log.warn(message));
  log.level = config.logLevel;
  return config;
}
