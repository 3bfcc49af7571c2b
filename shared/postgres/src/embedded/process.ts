import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** True while the process runs; a zombie, which nobody collects in a container without an init, does not. */
export function isAlive(pid: number): boolean {
  return startOf(pid) !== undefined;
}

/** When the process began, in a form that only compares: with the pid it names one process for good. Undefined when it does not run. */
export function startOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "lstart=");
  const stat = readProc(pid, "stat");
  if (stat === undefined) return undefined;
  // The command's name in parentheses may hold spaces; the state and the rest follow the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** The command line of a running process, its words joined by spaces. */
export function commandOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "command=");
  return readProc(pid, "cmdline")?.replaceAll("\0", " ").trim() || undefined;
}

/** Signals a process, which may have ended meanwhile. */
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
    return undefined; // ps exits 1 when there is no such process
  }
}
