import type { Bench, Workload } from "../harness/bench.ts";
import { capture } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { idDigits, idOf, idSql, serialOf, tenants } from "../harness/data.ts";
import { atLeast, compare } from "../harness/report.ts";
import { prefix, unique, version } from "../harness/requests.ts";
import { callerHeaders } from "../harness/tenants.ts";
import { afterwardsSealed, countingScript, idsIn, keysIn, locksIn } from "./w04-create.ts";

const tenantId = tenants.written;
/** A unique number, so that its places in the statements are found. */
const versionBefore = 777_001;
const captured = 7;

/**
 * PATCH with If-Match, a request id of its own and an audit entry: each connection changes records of its own, naming the version that
 * the answer before gave. Limit: the product's statements in pgbench, on an equal table of another tenant. Goal: 0.45 of it.
 */
export const update: Workload = {
  id: "W6",
  title: "update with If-Match",
  async run(bench) {
    const { stack } = bench;
    const records = Math.min(256, bench.config.sizes.written);
    const script = await updateScript(bench);
    const own = callerHeaders(tenantId);
    const patch = { "content-type": "application/json", "x-request-id": unique, "if-match": `"${version}"` };
    const product = bench.http("PATCH, through the gateway", stack.gateway, stack.pids("gateway", "crm"), async () => {
      const { rows } = await stack.superuser.query<{ id: string; version: number }>(
        "select customer_id as id, version from tenant_bench_written.customers where customer_id = any($1::uuid[])",
        [Array.from({ length: records }, (_, index) => idOf(index + 1))],
      );
      return rows.map((follows) => ({
        method: "PATCH",
        path: `/api/v1/crm/customers/${follows.id}`,
        headers: { ...own, ...patch },
        body: `{"level":"${unique}"}`,
        follows,
      }));
    });
    const restart = async () => {
      await stack.superuser.query("update tenant_bench_limit.customers set version = $1 where customer_id = any($2::uuid[])", [
        versionBefore,
        Array.from({ length: bench.config.connections }, (_, client) => idOf(client + 1)),
      ]);
      return script();
    };
    const measured = await bench.measure({
      limit: bench.sql("pgbench, same statements", tenants.limit, restart),
      product: afterwardsSealed(bench, tenantId, product),
    });
    return [compare("W6", measured.product, measured.limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.45)])];
  },
};

/** The statements of one PATCH, for one record a client whose version grows with each transaction. */
async function updateScript({ stack }: Bench) {
  const id = idOf(captured);
  await stack.superuser.query("update tenant_bench_written.customers set version = $2 where customer_id = $1", [id, versionBefore]);
  const requestId = prefix();
  const level = prefix();
  const headers = { "content-type": "application/json", "x-request-id": requestId, "if-match": `"${versionBefore}"` };
  const statements = await capture(stack, tenantId, () =>
    call(stack, tenantId, `/customers/${id}`, { method: "PATCH", headers, body: JSON.stringify({ level }) }),
  );
  const made = idsIn(statements, [id]).map((audit, index) => [audit, idSql(":digits::text").replace("7'", `${8 + index}'`)] as const);
  const tokens = new Map([
    [id, idSql(":record::text")],
    [serialOf(captured), "'N' || :record::text"],
    [serialOf(captured).toLowerCase(), "'n' || :record::text"],
    [String(versionBefore), ":version::text"],
    [String(versionBefore + 1), "(:version + 1)::text"],
    [requestId, ":digits::text"],
    [level, ":digits::text"],
    ...made,
    ...keysIn(statements).map((key) => [key, `'\\x' || lpad(:digits::text, 64, '0')`] as const),
    ...locksIn(statements).map((lock) => [lock, ":digits::text"] as const),
  ]);
  const preamble = `\\set record ${idDigits(1)} + :client_id\n\\set version ${versionBefore} + :n - 1\n`;
  return () => countingScript(statements, tokens, preamble);
}
