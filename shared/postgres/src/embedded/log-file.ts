import { copyFileSync, existsSync, mkdirSync, openSync, renameSync, statSync, truncateSync } from "node:fs";
import { dirname } from "node:path";

const maxBytes = 10 * 1024 * 1024;
/** Number of rotated logs beside the current one. */
const storedLogs = 7;

/** Opens a log for appending, for a process that will write to the descriptor; only the owner may read its folder. */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(path, "a", 0o600);
  boundLog(path);
  return fd;
}

/**
 * Rotates a log past 10 MB: its content moves to `<path>.1`, that one to `<path>.2`, and so on up to 7. A process that appends to the log
 * goes on in the emptied file.
 */
export function boundLog(path: string): void {
  if (sizeOf(path) <= maxBytes) return;
  for (let number = storedLogs - 1; number >= 1; number--)
    if (existsSync(`${path}.${number}`)) renameSync(`${path}.${number}`, `${path}.${number + 1}`);
  copyFileSync(path, `${path}.1`);
  truncateSync(path);
}

/** Size of the file in bytes; 0 if there is none. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
