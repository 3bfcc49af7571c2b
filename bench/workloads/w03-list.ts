import { type Bench, gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { cursors, type ListPage } from "../harness/cursors.ts";
import { idDigits, idOf, idSql, tenants } from "../harness/data.ts";
import { listWriters } from "../harness/list-writers.ts";
import { atLeast, compare, type Line } from "../harness/report.ts";

const tenantId = tenants.read;

/**
 * A page of 20 masked customers, anywhere in 100,000, by cursor. Limit: the same statement in pgbench. Goals: 0.40 of it through the
 * gateway, 0.50 the cell alone. And the first page, which counts all matches too, against both of its statements; it has no goal.
 * And the page's way from the database to JSON, beside pg with JSON.stringify.
 */
export const list: Workload = {
  id: "W3",
  title: "list of 20",
  run: async (bench) => [...(await byCursor(bench)), ...(await firstPage(bench)), await listWriters(bench, tenantId)],
};

async function byCursor(bench: Bench): Promise<Line[]> {
  const { customers } = bench.config.sizes;
  const { stack } = bench;
  const first = await call<ListPage>(stack, tenantId, "/customers");
  const places = await cursors(
    stack,
    tenantId,
    first.body.nextCursor,
    spreadNumbers(2_000, customers - 20).map((n) => n + 20),
  );
  const paths = places.map(({ cursor }) => `/customers?cursor=${cursor}`);
  const captured = await capture(stack, tenantId, () => call(stack, tenantId, paths[0] ?? ""));
  const [place] = places;
  if (!place) throw new Error("There is no place to begin a page at");
  const script = scriptOf(
    captured,
    new Map([
      [place.createdAt, `to_char(timestamptz 'epoch' + :second * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`],
      [place.id, idSql(":digits")],
    ]),
    `\\set digits random(${idDigits(1)}, ${idDigits(customers)})\n\\set second random(${await secondOf(stack, 50)}, ${await secondOf(stack, customers)})\n`,
  );
  const { limit, product, cell } = await bench.measure({
    limit: bench.sql("pgbench, same list", tenantId, script),
    product: bench.throughGateway("page of 20 by cursor, through the gateway", tenantId, gets(paths)),
    cell: bench.cellAlone("page of 20 by cursor, cell alone", tenantId, gets(paths)),
  });
  return [
    compare("W3", product, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.4)]),
    compare("W3", cell, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.5)]),
  ];
}

async function firstPage(bench: Bench): Promise<Line[]> {
  const captured = await capture(bench.stack, tenantId, () => call(bench.stack, tenantId, "/customers"));
  const { limit, product } = await bench.measure({
    limit: bench.sql("pgbench, page and count", tenantId, scriptOf(captured, new Map(), "")),
    product: bench.throughGateway("first page of 20 with its total, through the gateway", tenantId, gets(["/customers"])),
  });
  return [compare("W3", product, limit)];
}

/** When the n-th customer was made, in seconds since 1970. */
async function secondOf(stack: Bench["stack"], n: number): Promise<number> {
  const { body } = await call<{ createdAt: string }>(stack, tenantId, `/customers/${idOf(n)}`);
  return Math.floor(Date.parse(body.createdAt) / 1000);
}
