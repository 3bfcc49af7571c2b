import { type Logger as Pino, pino } from "pino";

export type Logger = Pino;

/** JSON lines on stdout. What is logged are ids, codes and times: never a body, a name, a phone, an e-mail or a token. */
export function createLogger(name: string, level: string): Logger {
  return pino({
    name,
    level,
    base: { name, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    // The detail of a database's error shows the row at fault.
    redact: ["err.detail", "err.where", "authorization", "*.authorization", "password", "*.password", "key", "*.key"],
  });
}
