import { gets, type Workload } from "../harness/bench.ts";
import { call } from "../harness/client.ts";
import { cursors, type ListPage } from "../harness/cursors.ts";
import { ensureMany, tenants } from "../harness/data.ts";
import { atMost, compare } from "../harness/report.ts";

const tenantId = tenants.many;

/**
 * The page in the middle of 1,000,000 customers by cursor (the 25,000th of 20), one caller at a time. Limits: the second page by cursor, and
 * the first page, which counts too. Goal: 1.1 of it.
 */
export const deepPage: Workload = {
  id: "W11",
  title: "deep page",
  async run(bench) {
    await ensureMany(bench.stack, bench.log);
    const { many } = bench.config.sizes;
    const first = await call<ListPage>(bench.stack, tenantId, "/customers");
    const { nextCursor } = first.body;
    const [middle] = await cursors(bench.stack, tenantId, nextCursor, [Math.ceil(many / 2)]);
    const { limit, page1, product } = await bench.measure({
      limit: bench.throughGateway("page 2 by cursor", tenantId, gets([`/customers?cursor=${nextCursor}`]), 1),
      page1: bench.throughGateway("page 1 with its total", tenantId, gets(["/customers"]), 1),
      product: bench.throughGateway("page in the middle, by cursor", tenantId, gets([`/customers?cursor=${middle?.cursor}`]), 1),
    });
    const goals = ({ ratio }: { ratio: { median: number } | undefined }) => [atMost("ratio", ratio?.median, 1.1)];
    return [compare("W11", product, limit, goals, "p50Ms"), compare("W11", product, page1, goals, "p50Ms")];
  },
};
