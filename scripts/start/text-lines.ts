import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

/** Appends each line of a stream to a log of JSON lines: unchanged if it is JSON, else as the message of a new line. */
export function appendAsJson(stream: Readable, name: string, pid: number | undefined, logPath: string): void {
  createInterface({ input: stream }).on("line", (line) => {
    if (line.trim() === "") return;
    const entry = { level: 50, time: new Date().toISOString(), name, pid, msg: line };
    appendFileSync(logPath, `${isJson(line) ? line : JSON.stringify(entry)}\n`, { mode: 0o600 });
  });
}

function isJson(line: string): boolean {
  try {
    return typeof JSON.parse(line) === "object";
  } catch {
    return false;
  }
}
