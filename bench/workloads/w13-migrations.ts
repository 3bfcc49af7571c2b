import { migrateSchema, type Registry, type TenantMigration } from "@cell/postgres";
import { bootstrapDatabase } from "@cell/postgres/bootstrap";
import { schemaOf, tenantLogin } from "@cell/postgres/tenants";
import pg from "pg";
import { cellMigrations } from "../../cells/crm/src/migrations/registry.ts";
import { tenantMigrations } from "../../cells/crm/src/migrations/tenant.ts";
import { createRegistry } from "../../cells/crm/src/testing/registry.ts";
import { rolePasswords } from "../../scripts/start/secrets.ts";
import type { Bench, Workload } from "../harness/bench.ts";
import { atMost, compare, type Line } from "../harness/report.ts";
import { type Sample, timed, withCpu } from "../harness/sample.ts";

const database = "bench_migrations";
const secret = "a secret of the benchmark's own tenants";
const addColumn: TenantMigration = { name: "9999_bench", sql: [`alter table "$tenant".customers add column bench text`] };

/**
 * Making tenants' schemas, and bringing 1,000 of them up to date by one more column, by what the cell's migration step runs, in a database of
 * their own. Limit: the same SQL in a loop over one connection, a transaction for each tenant. Goal: at most twice its time.
 */
export const migrations: Workload = {
  id: "W13",
  title: "provision and migrate",
  async run(bench) {
    const { migrated } = bench.config.sizes;
    const [ours, plain] = [tenantIds("m", migrated), tenantIds("p", migrated)];
    await dropAll(bench, [...ours, ...plain]);
    await bench.stack.superuser.query(`create database ${database}`);
    const passwords = rolePasswords(bench.stack.secrets);
    const { crm: url } = await bootstrapDatabase({ url: bench.stack.superuserUrlOf(database), passwords });
    await migrateSchema({ url, schema: "crm", migrations: cellMigrations });
    const tenants = createRegistry({ databaseUrl: url, loginSecret: secret, total: 8, perTenant: 4, statementTimeoutMs: 10_000 });
    try {
      const provision = await inParts(bench, `provision ${migrated} tenants`, {
        ours: (ids) => provisionAll(tenants, ids),
        plain: (ids) => plainly(url, ids, made),
        tenants: [ours, plain],
      });
      const migrate = await inParts(bench, `migrate ${migrated} tenants`, {
        ours: (ids) => migrateAll(tenants, ids),
        plain: (ids) => plainly(url, ids, () => addColumn.sql),
        tenants: [ours, plain],
      });
      return [provision, migrate];
    } finally {
      await tenants.close();
      await dropAll(bench, [...ours, ...plain]);
    }
  },
};

interface Step {
  ours(ids: string[]): Promise<void>;
  plain(ids: string[]): Promise<void>;
  tenants: [ours: string[], plain: string[]];
}

/** A tenant is created once: each round takes a part of them. */
async function inParts(bench: Bench, name: string, { ours, plain, tenants }: Step): Promise<Line> {
  const samples = { ours: [] as Sample[], plain: [] as Sample[] };
  const rounds = Math.min(5, tenants[0].length);
  for (let round = 0; round < rounds; round++) {
    const [mine, others] = tenants.map((ids) => ids.filter((_, index) => index % rounds === round));
    samples.plain.push(await timedTenants(bench, others ?? [], plain));
    samples.ours.push(await timedTenants(bench, mine ?? [], ours));
  }
  const goals = ({ ratio }: Line) => [atMost("time", ratio && 1 / ratio.median, 2)];
  return compare("W13", { name, samples: samples.ours }, { name: "plain SQL in a loop", samples: samples.plain }, goals);
}

function tenantIds(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `bench-${kind}-${index + 1}`);
}

function timedTenants({ stack }: Bench, ids: string[], work: (ids: string[]) => Promise<void>): Promise<Sample> {
  return withCpu(stack.pids(), async () => {
    const startedAt = performance.now();
    await work(ids);
    const ms = performance.now() - startedAt;
    return timed(ids.length, ms, { seen: { "ms each": ms / ids.length } });
  });
}

async function provisionAll(tenants: Registry, ids: readonly string[]): Promise<void> {
  for (const id of ids) await tenants.provision(id);
}

/** Tenants of the other rounds count as migrated meanwhile. */
async function migrateAll(tenants: Registry, ids: readonly string[]): Promise<void> {
  const version = tenantMigrations.filter(({ name }) => name !== addColumn.name).length;
  // The registry holds this very list: so it knows one step more than the program.
  if (version === tenantMigrations.length) (tenantMigrations as TenantMigration[]).push(addColumn);
  try {
    await tenants.owner.query("update crm.tenants set version = case when tenant_id = any($1) then $2::int else $2 + 1 end", [
      ids,
      version,
    ]);
    const { migrated, failed } = await tenants.migrate();
    const [failure] = failed;
    if (failure || migrated.length !== ids.length)
      throw new Error(`${migrated.length} of ${ids.length} migrated: ${JSON.stringify(failure)}`);
  } finally {
    (tenantMigrations as TenantMigration[]).pop();
  }
}

/** All statements of a tenant's schema, its login first. */
function made(id: string): string[] {
  const schema = schemaOf(id);
  const create = [
    `create role "${schema}" login noinherit password '${tenantLogin(schema, secret).password}'`,
    `create schema "${schema}"`,
  ];
  return [...create, `grant usage on schema "${schema}" to "${schema}"`, ...tenantMigrations.flatMap(({ sql }) => sql)];
}

async function plainly(url: string, ids: readonly string[], sqlOf: (id: string) => readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  for (const id of ids) {
    await client.query("begin");
    for (const text of sqlOf(id))
      await client.query(text.replaceAll('"$tenant"', `"${schemaOf(id)}"`).replaceAll('"$login"', `"${schemaOf(id)}"`));
    await client.query("commit");
  }
  await client.end();
}

async function dropAll({ stack }: Bench, ids: readonly string[]): Promise<void> {
  await stack.superuser.query(`drop database if exists ${database} with (force)`);
  for (const role of ids.map(schemaOf)) await stack.superuser.query(`drop role if exists "${role}"`);
}
