import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** Processes by name; a parent such as PostgreSQL includes its children. */
export type Pids = Readonly<Record<string, number>>;

/** Linux counts a process's time in hundredths of a second. */
const tickUs = 10_000;

/** CPU time of each process so far in µs, including running and ended children. */
export function cpuOf(pids: Pids): Record<string, number> {
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, treeUs(pid)]));
}

/** Peak memory of a process since `forgetPeak`, in MB. */
export function peakMb(pid: number): number {
  return statusKb(pid, "VmHWM") / 1024;
}

/** Current memory of a process, in MB. */
export function memoryMb(pid: number): number {
  return statusKb(pid, "VmRSS") / 1024;
}

/** Private memory, without shared pages, in MB. */
export function privateMb(pid: number): number {
  return statusKb(pid, "RssAnon") / 1024;
}

/** Resets the peak of `peakMb`. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

export function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) => read(`/proc/${pid}/task/${thread}/children`).split(" ").filter(Boolean).map(Number));
}

function threadsOf(pid: number): string[] {
  return unlessEnded(() => readdirSync(`/proc/${pid}/task`)) ?? [];
}

function treeUs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // The command's name in parentheses may contain spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index] ?? 0), 0);
  return stat === "" ? 0 : childrenOf(pid).reduce((sum, child) => sum + treeUs(child), ticks * tickUs);
}

function statusKb(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}

function read(path: string): string {
  return unlessEnded(() => readFileSync(path, "utf8")) ?? "";
}

function unlessEnded<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined; // the process has ended meanwhile
    throw error;
  }
}
