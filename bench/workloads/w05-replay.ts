import { type Ask, gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { call } from "../harness/client.ts";
import { idOf, tenants } from "../harness/data.ts";
import { atLeast, compare } from "../harness/report.ts";
import { prefix, uniqueValue } from "../harness/requests.ts";
import { newCustomer } from "./w04-create.ts";

const tenantId = tenants.written;
const created = 500;

/** A create sent again with the same request id, which gets the stored response. Limit: get by id of the same product (W2). Goal: 0.9 of it. */
export const replay: Workload = {
  id: "W5",
  title: "replay",
  async run(bench) {
    const mine = prefix();
    const requests: Ask[] = Array.from({ length: bench.config.smoke ? 20 : created }, (_, index) => ({
      method: "POST",
      path: "/customers",
      headers: { "content-type": "application/json", "x-request-id": `replay-${uniqueValue(index, mine)}` },
      body: newCustomer(uniqueValue(index, mine)),
    }));
    for (const { path, headers = {}, body = "" } of requests) await call(bench.stack, tenantId, path, { method: "POST", headers, body });
    const again = await call(bench.stack, tenantId, "/customers", { ...requests[0], method: "POST" });
    if (again.headers.get("idempotency-replayed") !== "true") throw new Error("A repeated create was not answered as a replay");
    const { customers } = bench.config.sizes;
    const { limit, product } = await bench.measure({
      limit: bench.throughGateway(
        "get by id, through the gateway",
        tenants.read,
        gets(spreadNumbers(5_000, customers).map((n) => `/customers/${idOf(n)}`)),
      ),
      product: bench.throughGateway("replay of a create, through the gateway", tenantId, requests),
    });
    return [compare("W5", product, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.9)])];
  },
};
