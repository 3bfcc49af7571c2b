import { gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { idDigits, idOf, idSql, tenants } from "../harness/data.ts";
import { atLeast, compare } from "../harness/report.ts";

const tenantId = tenants.read;

/** Reading one customer of 100,000 by its id. Limit: the same statement in pgbench. Goals: 0.35 of it through the gateway, 0.55 the cell alone. */
export const getById: Workload = {
  id: "W2",
  title: "get by id",
  async run(bench) {
    const { customers } = bench.config.sizes;
    const requests = gets(spreadNumbers(5_000, customers).map((n) => `/customers/${idOf(n)}`));
    const captured = await capture(bench.stack, tenantId, () => call(bench.stack, tenantId, `/customers/${idOf(17)}`));
    const script = scriptOf(
      captured,
      new Map([[idOf(17), idSql(":digits")]]),
      `\\set digits random(${idDigits(1)}, ${idDigits(customers)})\n`,
    );
    const { limit, product, cell } = await bench.measure({
      limit: bench.sql("pgbench, same read", tenantId, script),
      product: bench.throughGateway("get by id, through the gateway", tenantId, requests),
      cell: bench.cellAlone("get by id, cell alone", tenantId, requests),
    });
    return [
      compare("W2", product, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.35)]),
      compare("W2", cell, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.55)]),
    ];
  },
};
