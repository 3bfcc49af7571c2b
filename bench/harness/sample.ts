import { cpuOf, type Pids } from "./processes.ts";

/** Result of one round of one side. */
export interface Sample {
  /** The counted requests, transactions or rows. */
  count: number;
  perSecond: number;
  p50Ms?: number;
  p99Ms?: number;
  maxMs?: number;
  /** Unsuccessful responses, and failed connections. */
  errors: number;
  /** CPU time per counted thing by process, in µs. */
  cpuUs: Record<string, number>;
  /** Other measurements, such as megabytes, by name. */
  seen?: Record<string, number>;
}

/** Runs one side's round and adds the CPU time of the processes. */
export async function withCpu(pids: Pids, run: () => Promise<Omit<Sample, "cpuUs">>): Promise<Sample> {
  const before = cpuOf(pids);
  const sample = await run();
  const after = cpuOf(pids);
  const used = Object.keys(pids).map((name) => [name, ((after[name] ?? 0) - (before[name] ?? 0)) / Math.max(1, sample.count)] as const);
  return { ...sample, cpuUs: Object.fromEntries(used) };
}

/** A sample of things that took this many milliseconds, in sequence or concurrently. */
export function timed(count: number, ms: number, rest: Partial<Sample> = {}): Omit<Sample, "cpuUs"> {
  return { count, perSecond: count / (ms / 1000), errors: 0, ...rest };
}
