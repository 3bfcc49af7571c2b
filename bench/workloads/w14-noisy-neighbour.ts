import { type Bench, gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { idOf, tenants } from "../harness/data.ts";
import { atLeast, atMost, compare, type Line } from "../harness/report.ts";
import type { Side } from "../harness/rounds.ts";
import { dropTenant, newTenant, sealed } from "../harness/tenants.ts";
import { customersCsv, importOnce } from "./w07-import.ts";

const readers = 8;
/** An import of 100,000 rows beside others takes some thirty seconds: a shorter run only sees its beginning. */
const leastSeconds = 10;

/**
 * Tenant B reads single customers, eight at once, while tenant A imports 100,000 rows, and while A floods with lists, 64 at once: as far as
 * the gateway's own limit for a tenant's token lets it, and without any. Limit: B alone. Goals: at least 0.5 of its throughput, a p99 of at
 * most 3 times its own.
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
    const flooding = async (seconds: number) => void (await flood.run(seconds + 1, 0));
    const sides = {
      limit: reads("B alone"),
      importing: beside(reads("B reads while A imports"), async () => {
        const noisy = await newTenant(bench.stack, "bench-noisy");
        return async () => {
          await importOnce(bench, csv, sizes.importRows, noisy);
          await sealed(bench.stack, noisy);
          await dropTenant(bench.stack, noisy);
        };
      }),
      flooded: beside(reads("B reads while A floods, 500/s let in"), async () => {
        await limitRate(bench, 500);
        return flooding;
      }),
      unlimited: beside(reads("B reads while A floods without a limit"), async () => {
        await limitRate(bench, null);
        return flooding;
      }),
    };
    const { seconds, smoke } = bench.config;
    const { limit, importing, flooded, unlimited } = await bench.measure(sides, smoke ? seconds : Math.max(leastSeconds, seconds));
    await limitRate(bench, null);
    const goals = (line: Line) => [atLeast("ratio", line.ratio?.median, 0.5)];
    const tail = (line: Line) => [atMost("ratio", line.ratio?.median, 3)];
    return [
      compare("W14", importing, limit, goals),
      compare("W14", importing, limit, tail, "p99Ms"),
      compare("W14", flooded, limit, goals),
      compare("W14", flooded, limit, tail, "p99Ms"),
      compare("W14", unlimited, limit),
      compare("W14", unlimited, limit, undefined, "p99Ms"),
    ];
  },
};

/** Sets the flooding tenant's requests per second; null: the gateway's default. */
async function limitRate({ stack }: Bench, rateLimit: number | null): Promise<void> {
  const response = await fetch(`${stack.gateway}/api/admin/tenants/${tenants.written}`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${stack.secrets.operatorKey}`, "content-type": "application/json" },
    body: JSON.stringify({ rateLimit }),
  });
  if (!response.ok) throw new Error(`The rate limit cannot be set: ${response.status} ${await response.text()}`);
}

type Noise = (seconds: number) => Promise<void>;

/** Runs a side during other work; reports whether that lasted to the end. */
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
