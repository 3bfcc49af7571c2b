import type { Bench } from "./bench.ts";
import { call } from "./client.ts";
import type { Side } from "./rounds.ts";
import { withCpu } from "./sample.ts";
import { percentile } from "./statistics.ts";

/** Different requests of one tenant through the gateway, in sequence; `before` is not timed. */
export function oneByOne(
  bench: Bench,
  tenantId: string,
  name: string,
  path: () => string,
  before: () => Promise<void> = async () => undefined,
): Side {
  return {
    name,
    run: (seconds) =>
      withCpu(bench.stack.pids("gateway", "crm"), async () => {
        const ms: number[] = [];
        let errors = 0;
        const startedAt = performance.now();
        while (ms.length === 0 || performance.now() - startedAt < seconds * 1000) {
          await before();
          const sentAt = performance.now();
          await call(bench.stack, tenantId, path()).catch((error: Error) => {
            if (errors++ === 0) bench.log(error.message.slice(0, 200));
          });
          ms.push(performance.now() - sentAt);
        }
        const total = performance.now() - startedAt;
        const latencies = { p50Ms: percentile(ms, 0.5), p99Ms: percentile(ms, 0.99), maxMs: Math.max(...ms) };
        return { count: ms.length, perSecond: ms.length / (total / 1000), errors, ...latencies };
      }),
  };
}
