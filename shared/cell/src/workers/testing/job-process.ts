import { text } from "node:stream/consumers";
import { createLogger } from "@cell/http";
import { schemaOf } from "@cell/postgres";
import { TenantWorker } from "../tenant-worker.ts";
import { claimJob, hasJobs, openJobRegistry } from "./job-queue.ts";

/** Input of this process on its standard input. */
export interface JobProcessInput {
  databaseUrl: string;
  cell: string;
  leaseMs: number;
  /** Whether each run violates a unique constraint with this label instead of claiming a job. */
  label?: string;
}

// A process that claims a job and never finishes it: for a test to kill.
const { databaseUrl, cell, leaseMs, label } = JSON.parse(await text(process.stdin)) as JobProcessInput;
const registry = await openJobRegistry(databaseUrl, cell);
const worker = new TenantWorker({
  name: "jobs",
  registry,
  log: createLogger("jobs", "info"),
  concurrency: 1,
  pollMs: 30_000,
  findTenants: () => registry.tenantsWhere(hasJobs),
  async run(tenant) {
    if (label !== undefined)
      await registry.owner.query(`insert into "${schemaOf(tenant.tenantId)}".jobs (job_id, label) values (101, $1), (102, $1)`, [label]);
    const jobId = await claimJob(tenant, leaseMs);
    process.stdout.write(`claimed ${jobId}\n`);
    return new Promise(() => undefined);
  },
});
worker.start();
// The worker keeps no process alive.
setInterval(() => undefined, 1_000);
