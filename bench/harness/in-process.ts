import { atMost, compare, type Line } from "./report.ts";
import type { Measured, Side } from "./rounds.ts";
import { timed } from "./sample.ts";
import { median } from "./statistics.ts";

/** A hand-written part stays if it needs at most this share of the library's CPU time. */
const goalShare = 0.8;

/**
 * Repeats work in this process until the time is over. `work` resolves to the number of things it did; its CPU time is that of this
 * process.
 */
export function inProcess(name: string, work: () => Promise<number>): Side {
  return {
    name,
    async run(seconds) {
      const [startedAt, before] = [performance.now(), process.cpuUsage()];
      let count = 0;
      while (count === 0 || performance.now() - startedAt < seconds * 1000) count += await work();
      const { user, system } = process.cpuUsage(before);
      return { ...timed(count, performance.now() - startedAt), cpuUs: { process: (user + system) / count } };
    },
  };
}

/** Compares a hand-written part with a library by CPU time, in the process `by`. */
export function besideLibrary(workload: string, own: Measured, library: Measured, by: string): Line {
  const cpuOf = ({ samples }: Measured) => median(samples.map(({ cpuUs }) => cpuUs[by] ?? Number.NaN));
  const share = cpuOf(own) / cpuOf(library);
  const line = compare(workload, own, library, () => [atMost("share of the library's CPU", share, goalShare)]);
  return { ...line, seen: { "library's CPU µs": cpuOf(library), share } };
}
