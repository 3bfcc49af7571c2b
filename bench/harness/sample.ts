import { cpuOf, type Pids } from "./processes.ts";

/** What one round of one side came to. */
export interface Sample {
  /** Requests, transactions, rows: what was counted. */
  count: number;
  perSecond: number;
  p50Ms?: number;
  p99Ms?: number;
  maxMs?: number;
  /** Answers that were no success, and connections that failed. */
  errors: number;
  /** CPU time per counted thing by process, in µs. */
  cpuUs: Record<string, number>;
  /** Whatever else was seen, such as megabytes, by name. */
  seen?: Record<string, number>;
}

/** Runs one side's round and adds what the processes used of the CPU during it. */
export async function withCpu(pids: Pids, run: () => Promise<Omit<Sample, "cpuUs">>): Promise<Sample> {
  const before = cpuOf(pids);
  const sample = await run();
  const after = cpuOf(pids);
  const used = Object.keys(pids).map((name) => [name, ((after[name] ?? 0) - (before[name] ?? 0)) / Math.max(1, sample.count)] as const);
  return { ...sample, cpuUs: Object.fromEntries(used) };
}

/** A sample of things that were done one after the other or all at once in so many milliseconds. */
export function timed(count: number, ms: number, rest: Partial<Sample> = {}): Omit<Sample, "cpuUs"> {
  return { count, perSecond: count / (ms / 1000), errors: 0, ...rest };
}
