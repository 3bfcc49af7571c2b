import { execFile, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, describe, expect, inject, test } from "vitest";
import { bootstrapDatabase } from "./bootstrap.ts";
import { migrateSchema } from "./control.ts";
import { startEmbedded } from "./embedded.ts";
import { hardeningMigration, unrevokedFunctions } from "./hardening.ts";
import type { TenantLogins } from "./logins.ts";
import { withLogin } from "./pool/connection.ts";
import { placementMigration, Registry, registryMigrations, type TenantMigration } from "./registry.ts";
import { type Parameters, statement, tenantTables } from "./statement.ts";
import { tenantLogin } from "./tenants.ts";
import "./testing/global-setup.ts";
import { createManagedDatabase, createTestDatabase } from "./testing/server.ts";

const secret = "a secret for the tests of the bootstrap alone";
const passwords = { crm: "crm", gateway: "gateway" };
const notes: TenantMigration = {
  name: "1",
  sql: [
    'create table "$tenant".notes (note_id int primary key, numbered int generated always as identity, body text not null)',
    'create index notes_body on "$tenant".notes (body)',
    'grant select, insert on "$tenant".notes to "$login"',
  ],
};
const titles: TenantMigration = { name: "2", sql: ['alter table "$tenant".notes add column title text'] };
const cellSteps = (cell: string) => [...registryMigrations(cell), placementMigration(cell), hardeningMigration()];
/** Unique to this file on the run's server: the shared login belongs to the server. */
const ownCell = `cell_${randomBytes(4).toString("hex")}`;

interface Tables {
  notes: { noteId: number; body: string };
}
const db = tenantTables<Tables>();
const all = statement((_: Parameters<object>) => db.selectFrom("notes").select(["noteId", "body"]).orderBy("noteId"));
const add = statement((p: Parameters<{ noteId: number; body: string }>) =>
  db.insertInto("notes").values({ noteId: p.noteId, body: p.body }),
);

const opened = new Set<Registry>();
afterAll(() => closeAll());

async function closeAll(): Promise<void> {
  await Promise.all([...opened].map((registry) => registry.close()));
  opened.clear();
}

function open(url: string, logins: TenantLogins, cell = ownCell, migrations: TenantMigration[] = [notes]): Registry {
  const registry = new Registry({
    ...{ cell, url, migrations, loginSecret: secret, logins, preparedStatements: 100 },
    ...{ total: 8, perTenant: 4, readersPerTenant: 2, sharedReaders: 2, tenantsPerConnection: 4 },
    ...{ waitMs: 1_000, idleMs: 30_000, maxAgeMs: 600_000, statementTimeoutMs: 5_000, lockTimeoutMs: 1_000 },
  });
  opened.add(registry);
  return registry;
}

async function query<Row extends object>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

const fresh = () => `t${randomBytes(5).toString("hex")}`;
const database = () => createTestDatabase(inject("superuserUrl"), `bootstrap_${randomBytes(4).toString("hex")}`);

async function use(registry: Registry, tenantId: string): Promise<unknown> {
  const tenant = await registry.tenant(tenantId);
  await tenant.write((session) => session.commit(undefined, [session.change(add, { noteId: 1, body: tenantId })], []));
  return tenant.reader().query(all, {});
}

/** What the cell created but its role does not own. */
const foreign = `
  select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'crm' or n.nspname ~ '^tenant_') and c.relowner <> 'crm'::regrole
  union all select nspname from pg_namespace where (nspname = 'crm' or nspname ~ '^tenant_') and nspowner <> 'crm'::regrole
  union all select p.proname from pg_proc p where p.proname ~ '^(expect_row|crm_)' and p.proowner <> 'crm'::regrole`;

test.skipIf(!process.env.TEST_POSTGRES)("the tests run on the PostgreSQL of TEST_POSTGRES", async () => {
  const { version } = JSON.parse(readFileSync(join(process.env.TEST_POSTGRES ?? "", "package.json"), "utf8")) as { version: string };
  const [row] = await query<{ server_version: string }>(inject("databaseUrl"), "show server_version");
  expect(version).toMatch(new RegExp(`^${row?.server_version}\\.`));
});

describe("bootstrap.sql", () => {
  test("bootstrap.sql creates roles that are not superusers, revokes every dangerous function, and can run again", async () => {
    const { crm } = await database();
    expect(await query(crm, "select 1")).toEqual([{ "?column?": 1 }]);
    const client = new pg.Client({ connectionString: crm });
    await client.connect();
    expect(await unrevokedFunctions(client)).toEqual([]);
    await client.end();
    const superuserUrl = Object.assign(new URL(inject("superuserUrl")), { pathname: new URL(crm).pathname }).href;
    await query(superuserUrl, "comment on schema gateway is null");
    await bootstrapDatabase({ url: superuserUrl, passwords });
    const roles = await query(
      superuserUrl,
      `select rolname as role, rolsuper as super, rolcreaterole as creates from pg_roles
       where rolname in ('crm', 'gateway', 'crm_monitor') order by rolname`,
    );
    expect(roles).toEqual([
      { role: "crm", super: false, creates: true },
      { role: "crm_monitor", super: false, creates: false },
      { role: "gateway", super: false, creates: false },
    ]);
    const [owner] = await query(superuserUrl, "select datdba::regrole::text as owner from pg_database where datname = current_database()");
    expect(owner).toEqual({ owner: "crm" });
  });
});

describe.each(["own", "shared"] as const)("the cell's role, with logins %s", (logins) => {
  test("the cell's role creates a tenant, serves it, and drops it with its sessions and everything it owned", async () => {
    const { crm } = await database();
    await migrateSchema({ url: crm, schema: ownCell, migrations: cellSteps(ownCell) });
    const registry = open(crm, logins);
    await registry.requireHardening();
    const [one, other] = [fresh(), fresh()];
    for (const tenantId of [one, other]) await registry.provision(tenantId);
    expect(await use(registry, one)).toEqual([{ noteId: 1, body: one }]);
    await use(registry, other);
    const { schema } = await registry.tenant(one);
    const session = new pg.Client({ connectionString: withLogin(crm, tenantLogin(schema, secret)) });
    const ended = new Promise((resolve) => session.on("error", resolve));
    await session.connect();

    expect(await registry.drop(one)).toEqual({ dropped: true });
    await ended;
    const left = await query(
      crm,
      `select rolname as name from pg_roles where rolname = '${schema}' union all select nspname from pg_namespace where nspname = '${schema}'`,
    );
    expect(left).toEqual([]);
    expect(await registry.drop(one)).toEqual({ dropped: false });
    expect(await (await registry.tenant(other)).reader().query(all, {})).toHaveLength(1);
    await registry.provision(one);
    expect(await use(registry, one)).toEqual([{ noteId: 1, body: one }]);
  });
});

describe("an unprepared database", () => {
  test("an unprepared database serves tenants on their own logins, drops them, and lists unrevoked functions", async () => {
    const url = await createManagedDatabase(inject("superuserUrl"));
    await migrateSchema({ url, schema: ownCell, migrations: cellSteps(ownCell) });
    const registry = open(url, "own");
    await registry.requireHardening();
    const tenantId = fresh();
    await registry.provision(tenantId);
    expect(await use(registry, tenantId)).toEqual([{ noteId: 1, body: tenantId }]);
    expect(await registry.drop(tenantId)).toEqual({ dropped: true });
    expect(await registry.unrevokedFunctions()).toEqual(expect.arrayContaining(["pg_sleep(double precision)", "pg_locks"]));
  });

  test("an unprepared database is rejected for a login that all tenants share", async () => {
    const registry = open(await createManagedDatabase(inject("superuserUrl")), "shared");
    await expect(registry.requireHardening()).rejects.toThrow(/^TENANT_LOGINS=shared needs .*bootstrap\.sql.*TENANT_LOGINS=own/);
  });

  test("drops a tenant whose role was made without the owner being given its rights", async () => {
    const url = await createManagedDatabase(inject("superuserUrl"));
    await migrateSchema({ url, schema: ownCell, migrations: cellSteps(ownCell) });
    const registry = open(url, "own");
    const tenantId = fresh();
    await registry.provision(tenantId);
    const { schema } = await registry.tenant(tenantId);
    await query(url, `revoke "${schema}" from current_user granted by current_user`);
    expect(await registry.drop(tenantId)).toEqual({ dropped: true });
  });
});

const hasPsql = spawnSync("psql", ["--version"]).status === 0;

/** As docker compose does. */
async function runScript(url: string): Promise<void> {
  const { hostname, port, pathname, username, password } = new URL(url);
  const env = {
    PATH: process.env.PATH,
    PGHOST: hostname,
    PGPORT: port,
    PGDATABASE: pathname.slice(1),
    PGUSER: username,
    PGPASSWORD: password,
  };
  const script = join(import.meta.dirname, "../../../deploy/postgres/bootstrap.sh");
  await promisify(execFile)("sh", [script], { env: { ...env, CRM_PASSWORD: passwords.crm, GATEWAY_PASSWORD: passwords.gateway } });
}

test.skipIf(!hasPsql)("bootstrap.sh prepares a database by psql, and can run again", async () => {
  const name = `script_${randomBytes(4).toString("hex")}`;
  await query(inject("superuserUrl"), `create database ${name} template template0`);
  const url = Object.assign(new URL(inject("superuserUrl")), { pathname: name }).href;
  for (let times = 0; times < 2; times++) await runScript(url);
  const registry = open(withLogin(url, { user: "crm", password: passwords.crm }), "shared");
  expect(await registry.unrevokedFunctions()).toEqual([]);
  expect(await query(withLogin(url, { user: "gateway", password: passwords.gateway }), "create table gateway.probe (a int)")).toEqual([]);
});

/** How to upgrade a server of an earlier version; it runs then. */
const upgrades: Record<string, (restart: () => Promise<string>, url: string) => Promise<void>> = {
  async "npm start"(restart) {
    await bootstrapDatabase({ url: await restart(), passwords });
  },
  "bootstrap.sh": (_restart, url) => runScript(url),
};

test.each(Object.keys(upgrades).filter((upgrade) => hasPsql || upgrade !== "bootstrap.sh"))(
  "%s upgrades a server on which the cell's role crm was the superuser, with its tenants",
  {
    timeout: 120_000,
  },
  async (upgrade) => {
    const dataDir = mkdtempSync(join(tmpdir(), "cell-crm-bootstrap-"));
    chmodSync(dataDir, 0o755);
    const packageDir = process.env.TEST_POSTGRES;
    const start = () => startEmbedded({ dataDir, fast: true, port: 21_480, log: () => undefined, ...(packageDir ? { packageDir } : {}) });
    let server = await start();
    const restart = async () => {
      await server.stop();
      server = await start();
      return server.socketUrl;
    };
    try {
      const earlierUrl = Object.assign(new URL(server.url), { username: "crm" }).href;
      await query(server.url, "create role helper superuser login password 'helper'");
      await query(withLogin(server.url, { user: "helper", password: "helper" }), "alter role postgres rename to crm");
      await query(earlierUrl, "drop role helper");
      await migrateSchema({ url: earlierUrl, schema: "crm", migrations: cellSteps("crm") });
      const [one, two] = [fresh(), fresh()];
      for (const [tenantId, logins] of [
        [one, "own"],
        [two, "shared"],
      ] as const) {
        const earlier = open(earlierUrl, logins, "crm");
        await earlier.provision(tenantId);
        await use(earlier, tenantId);
      }
      await closeAll();

      await upgrades[upgrade]?.(restart, server.url);
      expect(await query(server.url, "select rolname from pg_roles where rolsuper")).toEqual([{ rolname: "postgres" }]);
      expect(await query(server.url, foreign)).toEqual([]);

      const crm = withLogin(server.url, { user: "crm", password: passwords.crm });
      const shared = open(crm, "shared", "crm", [notes, titles]);
      await shared.requireHardening();
      expect(await shared.migrate()).toMatchObject({ failed: [], migrated: [one, two].sort() });
      const own = open(crm, "own", "crm", [notes, titles]);
      for (const registry of [shared, own]) {
        expect((await registry.migrate()).failed).toEqual([]);
        for (const tenantId of [one, two])
          expect(await (await registry.tenant(tenantId)).reader().query(all, {})).toEqual([{ noteId: 1, body: tenantId }]);
      }
      for (const tenantId of [one, two]) expect(await own.drop(tenantId)).toEqual({ dropped: true });
      await own.provision(one);
      expect(await use(own, one)).toEqual([{ noteId: 1, body: one }]);
      await closeAll();
    } finally {
      await server.stop();
      rmSync(server.home, { recursive: true, force: true });
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
);
