import { type Bench, gets, type Workload } from "../harness/bench.ts";
import { call } from "../harness/client.ts";
import { ensureMany, idOf, tenants } from "../harness/data.ts";
import { oneByOne } from "../harness/one-by-one.ts";
import { atMost, compare, type Line } from "../harness/report.ts";
import type { Side } from "../harness/rounds.ts";
import { timed, withCpu } from "../harness/sample.ts";

const tenantId = tenants.many;

const reports = {
  "pipeline/funnel": "/pipeline/funnel",
  "pipeline/summary": "/pipeline/summary",
  "reports/funnel": "/reports/funnel",
} as const;

/**
 * Reports over 1,000,000 opportunities with their histories. Limit: count and sum by stage out of an index that has nothing else.
 * Goals: 1.1 of it for a question that was never asked before and comes after a write, 2 ms for one that was; and the same 1.1 for the first
 * funnel of a cell that was just started, after a write too, and where no cell has kept anything.
 */
export const funnel: Workload = {
  id: "W10",
  title: "funnel",
  async run(bench) {
    await ensureMany(bench.stack, bench.log);
    await ensureIndexed(bench);
    const text = "select stage, count(*), sum(amount) from public.bench_opportunities group by stage;\n";
    const yearAgo = Date.now() - 365 * 24 * 60 * 60 * 1000;
    let asked = 0;
    const write = () => changeAmount(bench, ++asked);
    const lines: Line[] = [];
    for (const [name, path] of Object.entries(reports).slice(0, bench.config.smoke ? 1 : undefined)) {
      const measured = await bench.measure(
        {
          limit: bench.sql("pgbench, index-only scan", tenantId, { text, variables: {} }, { connections: 1, latencies: true }),
          // Another window is a cache miss.
          cold: oneByOne(
            bench,
            tenantId,
            `${name}, never asked before, after a write`,
            () => `${path}?from=${new Date(yearAgo + asked).toISOString()}`,
            write,
          ),
          warm: bench.throughGateway(`${name}, asked again`, tenantId, gets([path]), 1),
        },
        Math.min(2, bench.config.seconds),
      );
      lines.push(
        compare("W10", measured.cold, measured.limit, ({ ratio }) => [atMost("ratio", ratio?.median, 1.1)], "p50Ms"),
        compare("W10", measured.warm, undefined, ({ p50Ms }) => [atMost("ms p50", p50Ms, 2)], "p50Ms"),
      );
    }
    const path = reports["pipeline/funnel"];
    const forget = async () => void (await bench.stack.superuser.query("truncate tenant_bench_many.kept_parts"));
    const { limit, ...firsts } = await bench.measure({
      limit: bench.sql("pgbench, index-only scan", tenantId, { text, variables: {} }, { connections: 1, latencies: true }),
      unkept: firstOfAll(bench, "pipeline/funnel, the first of a new process, nothing kept", path, forget),
      kept: firstOfAll(bench, "pipeline/funnel, the first of a new process, after a write", path, write),
    });
    for (const first of [firsts.kept, firsts.unkept])
      lines.push(compare("W10", first, limit, ({ ratio }) => [atMost("ratio", ratio?.median, 1.1)], "p50Ms"));
    return lines;
  },
};

/** Changes an opportunity's amount, which invalidates its cached aggregates. */
async function changeAmount({ stack, config }: Bench, n: number): Promise<void> {
  const path = `/opportunities/${idOf(1 + ((n * 7_919) % config.sizes.many))}`;
  const body = JSON.stringify({ amount: String(100 + n) });
  await call(stack, tenantId, path, { method: "PATCH", headers: { "content-type": "application/json" }, body });
}

/** A request to a newly started cell that has only responded to a list; `before` runs before its start. */
function firstOfAll(bench: Bench, name: string, path: string, before: () => Promise<void>): Side {
  return {
    name,
    async run() {
      await before();
      await bench.stack.run("crm");
      await call(bench.stack, tenantId, "/customers?pageSize=1");
      return withCpu(bench.stack.pids("gateway", "crm"), async () => {
        const sentAt = performance.now();
        await call(bench.stack, tenantId, path);
        const ms = performance.now() - sentAt;
        return timed(1, ms, { p50Ms: ms });
      });
    },
  };
}

/**
 * The opportunities' stages and amounts in an index of their own: one that the product does not have, in a table that it does not see, with
 * all their columns, or else PostgreSQL would rather read the table.
 */
async function ensureIndexed({ stack }: Bench): Promise<void> {
  const { rows } = await stack.superuser.query("select to_regclass('public.bench_opportunities') is not null as there");
  if (rows[0]?.there) return;
  await stack.superuser.query("create table public.bench_opportunities as select * from tenant_bench_many.opportunities");
  await stack.superuser.query("create index on public.bench_opportunities (stage) include (amount)");
  await stack.superuser.query("vacuum (analyze, freeze) public.bench_opportunities");
  await stack.superuser.query("grant select on public.bench_opportunities to public");
}
