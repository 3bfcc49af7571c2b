import { startBare } from "../harness/bare.ts";
import { gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { type Captured, capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { idDigits, idOf, idSql, tenants } from "../harness/data.ts";
import type { Pids } from "../harness/processes.ts";
import { atLeast, compare } from "../harness/report.ts";
import type { LoadRequest } from "../harness/requests.ts";

const tenantId = tenants.read;

/**
 * Reading one customer of 100,000 by its id. Limit: the same statement in pgbench. Goals: 0.35 of it through the gateway, 0.55 the cell alone.
 * For comparison, programs of Node that do nothing but pass the read through.
 */
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
    const bare = await startBare(bench.stack, tenantId, readOf(captured));
    const passed = (name: string, { url }: { url: string }, pids: Pids) => bench.http(name, url, pids, () => requests.map(plain));
    try {
      const { limit, product, cell, bareProduct, bareCell } = await bench.measure({
        limit: bench.sql("pgbench, same read", tenantId, script),
        product: bench.throughGateway("get by id, through the gateway", tenantId, requests),
        cell: bench.cellAlone("get by id, cell alone", tenantId, requests),
        bareProduct: passed("the same by bare Node, through a bare gateway", bare.gateway, {
          "bare gateway": bare.gateway.pid,
          "bare cell": bare.cell.pid,
          ...bench.stack.pids(),
        }),
        bareCell: passed("the same by bare Node alone", bare.cell, { "bare cell": bare.cell.pid, ...bench.stack.pids() }),
      });
      return [
        compare("W2", product, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.35)]),
        compare("W2", cell, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.55)]),
        compare("W2", bareProduct, limit),
        compare("W2", bareCell, limit),
      ];
    } finally {
      await bare.stop();
    }
  },
};

/** The product's statement with the id as its one parameter; a caller who sees all is no parameter of it. */
function readOf([statement]: readonly Captured[]): string {
  if (!statement) throw new Error("The product sent no statement");
  return statement.text.replace(/\$(\d+)/g, (_, number) => {
    const index = Number(number) - 1;
    return statement.values[index] === null ? `null::${statement.types[index]}` : "$1";
  });
}

function plain({ method, path }: Pick<LoadRequest, "method" | "path">): LoadRequest {
  return { method, path, headers: {} };
}
