import { schemaOf } from "@cell/postgres/tenants";
import type { Bench, Workload } from "../harness/bench.ts";
import { capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { ensureSmallTenants } from "../harness/data.ts";
import { childrenOf, privateMb } from "../harness/processes.ts";
import { atLeast, atMost, compare, type Line } from "../harness/report.ts";
import type { Side } from "../harness/rounds.ts";
import { callerHeaders } from "../harness/tenants.ts";

/**
 * Many tenants in turn on one cell: 1,000 through one shared login, and 100 with a login each. Limit: the same requests for one tenant alone,
 * in the same mode. Each was asked some times before, so that connections keep its statements. Goals: 0.80 of it, and 60 MB of its own for each backend of the database.
 * For comparison, what PostgreSQL itself loses when pgbench reads the page of 100 tenants by chance instead of one's.
 */
export const manyTenants: Workload = {
  id: "W12",
  title: "many tenants",
  async run(bench) {
    const { sizes } = bench.config;
    const ids = await ensureSmallTenants(bench.stack, sizes.tenants, bench.log);
    try {
      return [
        ...(await inMode(bench, "shared", "shared login", ids)),
        ...(await inMode(bench, "own", "a login each", ids.slice(0, sizes.tenantsWithLogin))),
        ...(await byDatabaseAlone(bench, ids.slice(0, sizes.tenantsWithLogin))),
      ];
    } finally {
      await restart(bench, {});
    }
  },
};

/** A connection prepares a statement at its second use, and a tenant may get several connections before it stays with one. */
const timesBeforeStored = 6;

async function inMode(bench: Bench, mode: string, name: string, ids: readonly string[]): Promise<Line[]> {
  await restart(bench, { TENANT_LOGINS: mode });
  const [first = ""] = ids;
  const product = lists(bench, `${ids.length} tenants in turn, ${name}`, ids);
  await warm(product, timesBeforeStored * ids.length);
  const { limit, product: measured } = await bench.measure({ limit: lists(bench, `1 tenant, ${name}`, [first]), product });
  return [
    compare("W12", measured, limit, ({ ratio, seen }) => [
      atLeast("ratio", ratio?.median, 0.8),
      atMost("MB in the largest backend", seen["MB in the largest backend"], 60),
    ]),
  ];
}

/** PostgreSQL without the product: one tenant's page against those of many, by the product's own statement. */
async function byDatabaseAlone(bench: Bench, ids: readonly string[]): Promise<Line[]> {
  const { stack } = bench;
  const [first = ""] = ids;
  const captured = await capture(stack, first, () => call(stack, first, "/customers"));
  const { text, variables } = scriptOf(captured.slice(0, 1), new Map(), "");
  const [one = "", ...others] = ids.map((id) => text.replaceAll(schemaOf(first), schemaOf(id)));
  // Each connection first prepares each tenant's statement, hence few connections and a longer time.
  const options = { url: stack.databaseUrl, connections: 4 };
  const { limit, many } = await bench.measure(
    {
      limit: bench.sql("pgbench, page of 1 tenant", first, { text: one, variables }, options),
      many: bench.sql(`pgbench, page of ${ids.length} tenants by chance`, first, { text: one, others, variables }, options),
    },
    2 * bench.config.seconds,
  );
  return many ? [compare("W12", many, limit)] : [];
}

/** Sends at least this many requests. */
async function warm(side: Side, requests: number): Promise<void> {
  for (let sent = 0; sent < requests; ) {
    const { count } = await side.run(1, 0);
    if (count === 0) throw new Error(`${side.name}: no answers`);
    sent += count;
  }
}

/** The migration creates the logins. */
async function restart({ stack }: Bench, env: Record<string, string>): Promise<void> {
  await stack.migrate("crm", env);
  await stack.run("crm", env);
}

/** A page of customers of one tenant after the other. */
function lists(bench: Bench, name: string, ids: readonly string[]): Side {
  const { stack } = bench;
  const requests = ids.map((id) => ({ method: "GET", path: "/api/v1/crm/customers", headers: callerHeaders(id) }));
  const side = bench.http(name, stack.gateway, stack.pids("gateway", "crm"), () => requests);
  return {
    name,
    async run(seconds, round) {
      const sample = await side.run(seconds, round);
      const backends = childrenOf(stack.pids().postgres ?? 0).map(privateMb);
      return { ...sample, seen: { backends: backends.length, "MB in the largest backend": Math.max(...backends) } };
    },
  };
}
