import {
  migrateSchema,
  type Parameters,
  placementMigration,
  Registry,
  registryMigrations,
  schemaOf,
  statement,
  type Tenant,
  type TenantDb,
  tenantTables,
} from "@cell/postgres";
import { sql } from "kysely";

const db = tenantTables<{ jobs: { jobId: number; label: string | null; leasedUntil: string | null; runs: number; isDone: boolean } }>();

const migrations = [
  {
    name: "jobs",
    sql: [
      `create table "$tenant".jobs (job_id int primary key, label text unique, leased_until timestamptz, runs int not null default 0,
        is_done boolean not null default false)`,
      'grant select, insert, update on "$tenant".jobs to "$login"',
    ],
  },
];

const claimOne = statement((p: Parameters<{ leaseMs: number }>) =>
  db
    .updateTable("jobs")
    .set({ leasedUntil: sql<string>`now() + ${p.leaseMs}::int * interval '1 millisecond'`, runs: sql<number>`runs + 1` })
    .where("jobId", "=", (eb) =>
      eb
        .selectFrom("jobs")
        .select("jobId")
        .where("isDone", "=", false)
        .where(sql<boolean>`coalesce(leased_until <= now(), true)`)
        .orderBy("jobId")
        .limit(sql.lit(1))
        .forUpdate()
        .skipLocked(),
    )
    .returning("jobId"),
);

const finishOne = statement((p: Parameters<{ jobId: number }>) =>
  db.updateTable("jobs").set({ isDone: sql`true` }).where("jobId", "=", p.jobId),
);

const nextLeaseEnd = statement((_: Parameters<object>) =>
  db
    .selectFrom("jobs")
    .select(sql<number | null>`(extract(epoch from min(coalesce(leased_until, now())) - now()) * 1000)::int`.as("inMs"))
    .where("isDone", "=", false),
);

/** The SQL condition for tenants that have jobs to do. */
export const hasJobs = 'exists (select from "$tenant".jobs where not is_done)';

/** Opens the registry of a cell whose tenants each have a queue of jobs, as one process of that cell does. */
export async function openJobRegistry(url: string, cell: string): Promise<Registry> {
  await migrateSchema({ url, schema: cell, migrations: [...registryMigrations(cell), placementMigration(cell)] });
  return new Registry({
    cell,
    url,
    migrations,
    loginSecret: "a secret for the tests of workers alone",
    logins: "own",
    total: 10,
    perTenant: 4,
    readersPerTenant: 2,
    sharedReaders: 2,
    preparedStatements: 50,
    tenantsPerConnection: 50,
    waitMs: 2_000,
    idleMs: 30_000,
    maxAgeMs: 600_000,
    statementTimeoutMs: 5_000,
    lockTimeoutMs: 2_000,
  });
}

/** Adds `count` jobs to a tenant's queue and notifies the channel `jobs`, as one transaction. */
export async function addJobs({ owner }: Registry, tenantId: string, count: number): Promise<void> {
  await owner.query(
    `with added as (insert into "${schemaOf(tenantId)}".jobs (job_id) select generate_series(1, ${count}) returning job_id)
     select pg_notify('jobs', '${tenantId}') from added limit 1`,
  );
}

/** Number of jobs that are done, and of runs of all jobs. */
export async function countJobs({ owner }: Registry, tenantId: string): Promise<{ done: number; runs: number }> {
  const { rows } = await owner.query<{ done: number; runs: number }>(
    `select count(*) filter (where is_done)::int as done, coalesce(sum(runs), 0)::int as runs from "${schemaOf(tenantId)}".jobs`,
  );
  return rows[0] ?? { done: 0, runs: 0 };
}

/** Takes a job for `leaseMs`: no other process takes it within that time. Resolves to its id, undefined where none is free. */
export function claimJob(tenant: Tenant, leaseMs: number): Promise<number | undefined> {
  return tenant.write(async (session) => {
    await session.begin();
    const [claimed] = await session.tx.run(claimOne, { leaseMs });
    await session.commit(undefined, [], []);
    return claimed?.jobId;
  });
}

export async function finishJob(tenant: Tenant, jobId: number): Promise<void> {
  await tenant.write((session) => session.commit(undefined, [session.change(finishOne, { jobId })], []));
}

/** Milliseconds until a job that another process has claimed is free again; undefined where all jobs are done. */
export async function nextFreeInMs(tenant: TenantDb): Promise<number | undefined> {
  const inMs = (await tenant.first(nextLeaseEnd, {}))?.inMs ?? undefined;
  return inMs === undefined ? undefined : Math.max(1, inMs);
}
