import { createLogger, type Logger } from "./log.ts";

/** Why a program does not start, in a sentence for the operator: it ends the process without a stack. */
export class StartRefused extends Error {}

/** A setting is wrong or missing, or what it leads to cannot be used. */
const refusedExitCode = 2;

/**
 * The log of a program that runs as a process of its own, which from now on also holds, as JSON lines, what Node would write as text: its
 * warnings, and the error that ends the process. To be called once, first of all.
 */
export function startLog(name: string): Logger {
  const log = createLogger(name, "info");
  process.removeAllListeners("warning");
  process.on("warning", (warning) => log.warn({ err: warning }, warning.message));
  process.on("uncaughtException", (error) => {
    if (error instanceof StartRefused) log.fatal(error.message);
    else log.fatal({ err: error }, "an error that nothing has caught ends the process");
    process.exit(error instanceof StartRefused ? refusedExitCode : 1);
  });
  return log;
}

/** What `read` makes of the settings, the log's level among them. Throws a StartRefused that names the setting at fault. */
export function settingsOf<Settings extends { logLevel: string }>(log: Logger, read: () => Settings): Settings {
  try {
    const settings = read();
    log.level = settings.logLevel;
    return settings;
  } catch (error) {
    throw new StartRefused(error instanceof Error ? error.message : String(error));
  }
}
