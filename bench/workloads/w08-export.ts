import { execFile } from "node:child_process";
import { get } from "node:http";
import { promisify } from "node:util";
import type { Bench, Workload } from "../harness/bench.ts";
import { csvWriters } from "../harness/csv-writers.ts";
import { ensureMany, tenants } from "../harness/data.ts";
import { forgetPeak, peakMb } from "../harness/processes.ts";
import { atLeast, atMost, compare } from "../harness/report.ts";
import { timed, withCpu } from "../harness/sample.ts";
import { callerHeaders } from "../harness/tenants.ts";

const tenantId = tenants.many;

/**
 * All customers as CSV through the gateway: masked, in order, from one snapshot. Limit: psql's \copy of the same columns, unmasked and in
 * no order, to nowhere. Goals: 0.75 of its rows a second, 120 MB of memory, the first byte after 20 ms. Gateway and cell are started for it:
 * what other work has left in their memory is not the export's.
 */
export const exportRows: Workload = {
  id: "W8",
  title: "export",
  async run(bench) {
    await ensureMany(bench.stack, bench.log);
    const { stack, tools, config } = bench;
    const rows = config.sizes.many;
    const { psql } = tools;
    for (const name of ["crm", "gateway"] as const) await stack.run(name);
    const { limit, product } = await bench.measure({
      limit: psql === undefined ? undefined : { name: "psql \\copy", run: () => withCpu(stack.pids(), () => copied(bench, psql, rows)) },
      product: {
        name: `export of ${rows} rows, through the gateway`,
        run: () => withCpu(stack.pids("gateway", "crm"), () => exported(bench, rows)),
      },
    });
    return [
      compare("W8", product, limit, ({ ratio, seen }) => [
        atLeast("ratio", ratio?.median, 0.75),
        atMost("MB in the gateway", seen["gateway MB"], 120),
        atMost("MB in the cell", seen["crm MB"], 120),
        atMost("ms to the first byte", seen["first byte ms"], 20),
      ]),
      await csvWriters(bench, tenantId),
    ];
  },
};

async function copied({ stack, config }: Bench, psql: string, rows: number) {
  const url = new URL(stack.urlOf(tenantId));
  const columns =
    "customer_id, name, contact_name, contact_phone, contact_email, industry, level, source, status, owner_id, address, tags, notes, custom_fields, created_at, updated_at, version";
  const startedAt = performance.now();
  const query = `\\copy (select ${columns} from tenant_bench_many.customers where deleted_at is null) to '/dev/null' with (format csv)`;
  const args = [
    "-h",
    url.searchParams.get("host") ?? "",
    "-p",
    String(config.ports.postgres),
    "-U",
    url.username,
    "-q",
    "-c",
    query,
    "cell",
  ];
  await promisify(execFile)(psql, args, { env: { ...process.env, PGPASSWORD: decodeURIComponent(url.password), PGTZ: "UTC" }, cwd: "/" });
  return timed(rows, performance.now() - startedAt);
}

/** Reads the file to its end and checks its number of rows. */
function exported({ stack }: Bench, rows: number) {
  const pids = stack.pids("gateway", "crm");
  for (const name of ["gateway", "crm"]) forgetPeak(pids[name] ?? 0);
  const startedAt = performance.now();
  return new Promise<ReturnType<typeof timed>>((resolve, reject) => {
    const request = get(`${stack.gateway}/api/v1/crm/customers/export?format=csv`, { headers: callerHeaders(tenantId) }, (response) => {
      let firstAt = 0;
      let lines = 0;
      response.on("data", (chunk: Buffer) => {
        firstAt ||= performance.now();
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
      });
      response.once("error", reject);
      response.once("end", () => {
        if (response.statusCode !== 200 || lines !== rows + 1)
          reject(new Error(`The export answers ${response.statusCode} with ${lines} lines`));
        const seen = { "first byte ms": firstAt - startedAt, "gateway MB": peakMb(pids.gateway ?? 0), "crm MB": peakMb(pids.crm ?? 0) };
        resolve(timed(rows, performance.now() - startedAt, { seen }));
      });
    });
    request.once("error", reject);
  });
}
