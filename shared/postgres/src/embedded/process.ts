import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Whether the process runs. A zombie, which remains in a container without an init process, does not. */
export function isAlive(pid: number): boolean {
  return startOf(pid) !== undefined;
}

/** Start time of the process in an opaque form: together with the pid it identifies one process. Undefined if it does not run. */
export function startOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "lstart=");
  const stat = readProc(pid, "stat");
  if (stat === undefined) return undefined;
  // The command's name in parentheses may contain spaces and parentheses: the state follows the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** The command line of a running process, its words joined by spaces. */
export function commandOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "command=");
  return readProc(pid, "cmdline")?.replaceAll("\0", " ").trim() || undefined;
}

/** Signals a process; it may have ended already. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

function ps(pid: number, column: string): string | undefined {
  try {
    return (
      execFileSync("ps", ["-p", String(pid), "-o", column], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim() || undefined
    );
  } catch {
    return undefined; // ps exits with 1 if the process does not exist
  }
}
