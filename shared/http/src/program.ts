import { createLogger, type Logger } from "./log.ts";

/** A program cannot start. The message is for the operator; the process ends without a stack trace. */
export class StartRefused extends Error {}

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

/** Reads the settings, and sets the log's level from them. Throws a StartRefused that names the invalid setting. */
export function settingsOf<Settings extends { logLevel: string }>(log: Logger, read: () => Settings): Settings {
  try {
    const settings = read();
    log.level = settings.logLevel;
    return settings;
  } catch (error) {
    throw new StartRefused(error instanceof Error ? error.message : String(error));
  }
}
