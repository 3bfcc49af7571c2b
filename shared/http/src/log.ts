import { type Logger as Pino, pino } from "pino";

export type Logger = Pino;

/** Logs JSON lines to stdout: ids, codes and times, never a body, a name, a phone number, an e-mail address or a token. */
export function createLogger(name: string, level: string): Logger {
  return pino({
    name,
    level,
    base: { name, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    // PostgreSQL's error detail contains the row's values.
    redact: ["err.detail", "err.where", "authorization", "*.authorization", "password", "*.password", "key", "*.key"],
  });
}
