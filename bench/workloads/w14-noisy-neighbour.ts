import { gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { idOf, tenants } from "../harness/data.ts";
import { atLeast, atMost, compare, type Line } from "../harness/report.ts";
import type { Side } from "../harness/rounds.ts";
import { dropTenant, ensureTenant } from "../harness/tenants.ts";
import { customersCsv, importOnce } from "./w07-import.ts";

const noisy = "bench-noisy";
const readers = 8;

/**
 * Tenant B reads single customers, eight at once, while tenant A imports 100,000 rows, and while A floods with lists, 64 at once, which no
 * rate limit stops here. Limit: B alone. Goals for the import: at least 0.5 of its throughput, a p99 of at most 3 times its own.
 */
export const noisyNeighbour: Workload = {
  id: "W14",
  title: "noisy neighbour",
  async run(bench) {
    const { sizes } = bench.config;
    const csv = customersCsv(sizes.importRows);
    const paths = spreadNumbers(2_000, sizes.customers).map((n) => `/customers/${idOf(n)}`);
    const reads = (name: string) => bench.throughGateway(name, tenants.read, gets(paths), readers);
    const flood = bench.throughGateway("flood", tenants.written, gets(["/customers"]), 64);
    const { limit, importing, flooded } = await bench.measure({
      limit: reads("B alone"),
      importing: beside(reads("B reads while A imports"), async () => {
        await dropTenant(bench.stack, noisy);
        await ensureTenant(bench.stack, noisy);
        return async () => void (await importOnce(bench, csv, sizes.importRows, noisy));
      }),
      flooded: beside(reads("B reads while A floods"), async () => async (seconds) => void (await flood.run(seconds + 1, 0))),
    });
    await dropTenant(bench.stack, noisy);
    const goals = (line: Line) => [atLeast("ratio", line.ratio?.median, 0.5)];
    const tail = (line: Line) => [atMost("ratio", line.ratio?.median, 3)];
    return [
      compare("W14", importing, limit, goals),
      compare("W14", importing, limit, tail, "p99Ms"),
      compare("W14", flooded, limit),
      compare("W14", flooded, limit, undefined, "p99Ms"),
    ];
  },
};

type Noise = (seconds: number) => Promise<void>;

/** Runs a side while something else goes on; tells whether that went on to the end. */
function beside(side: Side, prepare: () => Promise<Noise>): Side {
  return {
    name: side.name,
    async run(seconds, round) {
      const noise = await prepare();
      let isOver = false;
      const going = noise(seconds).finally(() => {
        isOver = true;
      });
      const sample = await side.run(seconds, round);
      const coveredAll = isOver ? 0 : 1;
      await going;
      return { ...sample, seen: { "noise to the end": coveredAll } };
    },
  };
}
