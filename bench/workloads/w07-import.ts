import { chmodSync, existsSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { schemaOf } from "@cell/postgres/tenants";
import type { Bench, Workload } from "../harness/bench.ts";
import { call } from "../harness/client.ts";
import { copyWriters } from "../harness/copy-writers.ts";
import { forgetPeak, memoryMb, peakMb } from "../harness/processes.ts";
import { atLeast, atMost, compare } from "../harness/report.ts";
import { timed, withCpu } from "../harness/sample.ts";
import type { Stack } from "../harness/stack.ts";
import { dropTenant, newTenant, sealed } from "../harness/tenants.ts";

/**
 * A CSV of 100,000 customers sent through the gateway until its report says completed: validated, audited, seen by search. Limit: COPY by
 * the server, from a file of the same rows, into an equal table with equal indexes. Goals: 0.50 of its rows a second, 100 MB more at most.
 */
export const importRows: Workload = {
  id: "W7",
  title: "import",
  async run(bench) {
    const { stack, config } = bench;
    const rows = config.sizes.importRows;
    const csv = customersCsv(rows);
    const file = bench.file("copied");
    const { limit, product } = await bench.measure({
      product: {
        name: `import of ${rows} rows, through the gateway`,
        async run() {
          const tenantId = await newTenant(stack, "bench-import");
          const sample = await importOnce(bench, csv, rows, tenantId);
          if (!existsSync(file)) await copyOut(bench, tenantId, file);
          await sealed(stack, tenantId);
          await leaveNothing(stack, tenantId);
          return sample;
        },
      },
      limit: {
        name: "COPY by the server",
        async run() {
          const tenantId = await newTenant(stack, "bench-copy");
          const copy = `copy "${schemaOf(tenantId)}".customers (${await columns(bench, tenantId)}) from '${file}'`;
          const startedAt = performance.now();
          const sample = await withCpu(stack.pids(), async () => {
            await stack.superuser.query(copy);
            return timed(rows, performance.now() - startedAt);
          });
          await leaveNothing(stack, tenantId);
          return sample;
        },
      },
    });
    rmSync(file, { force: true });
    return [
      compare("W7", product, limit, ({ ratio, seen }) => [
        atLeast("ratio", ratio?.median, 0.5),
        atMost("MB more in the cell", seen["crm MB more"], 100),
        atMost("MB more in the gateway", seen["gateway MB more"], 100),
      ]),
      await copyWriters(bench),
    ];
  },
};

interface Job {
  importId: string;
  status: string;
  created?: number;
  failed?: number;
}

/** Vacuum and checkpoint of one side's writes must not load the other side. */
async function leaveNothing(stack: Stack, tenantId: string): Promise<void> {
  await dropTenant(stack, tenantId);
  await stack.superuser.query("checkpoint");
}

/** Sends the file and waits for the end. */
export async function importOnce(bench: Bench, csv: Uint8Array<ArrayBuffer>, rows: number, tenant: string) {
  const { stack } = bench;
  const pids = stack.pids("gateway", "crm");
  const services = ["gateway", "crm"] as const;
  const before = services.map((name) => memoryMb(pids[name] ?? 0));
  for (const name of services) forgetPeak(pids[name] ?? 0);
  return withCpu(pids, async () => {
    const startedAt = performance.now();
    const headers = { "content-type": "text/csv", "x-request-id": `import-${Date.now()}` };
    let { body: job } = await call<Job>(stack, tenant, "/customers/import?async=true", { method: "POST", headers, body: csv });
    while (job.status === "queued" || job.status === "running") {
      await sleep(50);
      ({ body: job } = await call<Job>(stack, tenant, `/imports/${job.importId}`));
    }
    if (job.status !== "completed" || job.created !== rows) throw new Error(`The import ended as ${JSON.stringify(job).slice(0, 500)}`);
    const more = services.map((name, index) => [`${name} MB more`, peakMb(pids[name] ?? 0) - (before[index] ?? 0)]);
    return timed(rows, performance.now() - startedAt, { seen: Object.fromEntries(more) });
  });
}

/** A CSV of this many customers with all fields. */
export function customersCsv(rows: number): Uint8Array<ArrayBuffer> {
  const lines = ["name,contactName,contactPhone,contactEmail,industry,level,source,status,ownerId,address,tags,notes"];
  for (let n = 1; n <= rows; n++) {
    const [phone, serial] = [String(13_800_000_000 + n), String(n).padStart(8, "0")];
    const person = `张伟,${phone},contact${n}@example.com,manufacturing,A,fair,active,user-${n % 50}`;
    lines.push(`某某公司 ${serial},${person},上海市浦东新区 ${n} 号,vip;new,"met at the fair, ${serial}"`);
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n`);
}

/** The imported rows, as COPY takes them. */
async function copyOut(bench: Bench, tenantId: string, file: string): Promise<void> {
  // The server runs as another user than this program, which may be root.
  chmodSync(bench.config.dataDir, 0o777);
  await bench.stack.superuser.query(`copy "${schemaOf(tenantId)}".customers (${await columns(bench, tenantId)}) to '${file}'`);
}

async function columns({ stack }: Bench, tenantId: string): Promise<string> {
  const { rows } = await stack.superuser.query<{ columns: string }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
     where attrelid = '"${schemaOf(tenantId)}".customers'::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
  );
  return rows[0]?.columns ?? "";
}
