import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { migrateSchema } from "./control.ts";
import { hardeningMigration } from "./hardening.ts";
import { placementMigration, Registry, registryMigrations } from "./registry.ts";
import { type Parameters, statement, tenantTables } from "./statement.ts";
import "./testing/global-setup.ts";

interface Tables {
  notes: { noteId: number; body: string };
}
const db = tenantTables<Tables>();
const shapes = Array.from({ length: 12 }, (_, index) =>
  statement((_: Parameters<object>) => db.selectFrom("notes").select("body").where("noteId", ">=", index)),
);
const all = statement((_: Parameters<object>) => db.selectFrom("notes").select(["noteId", "body"]).orderBy("noteId"));
const add = statement((p: Parameters<{ noteId: number; body: string }>) =>
  db.insertInto("notes").values({ noteId: p.noteId, body: p.body }),
);

const cell = `cell_${randomBytes(4).toString("hex")}`;
const limits = {
  total: 8,
  perTenant: 2,
  readersPerTenant: 2,
  sharedReaders: 3,
  preparedStatements: 4,
  tenantsPerConnection: 100,
  waitMs: 400,
  idleMs: 30_000,
  maxAgeMs: 600_000,
  statementTimeoutMs: 5_000,
  lockTimeoutMs: 2_000,
};
const migrations = [
  {
    name: "1",
    sql: [
      'create table "$tenant".notes (note_id int primary key, body text not null)',
      'grant select, insert on "$tenant".notes to "$login"',
    ],
  },
];
const open = (options: object = {}) =>
  new Registry({
    cell,
    url: inject("databaseUrl"),
    loginSecret: "a secret for the tests of logins alone",
    logins: "shared",
    migrations,
    ...limits,
    ...options,
  });
const fresh = () => `t${randomBytes(5).toString("hex")}`;

let registry: Registry;
let tenants: string[];
beforeAll(async () => {
  const steps = [...registryMigrations(cell), placementMigration(cell), hardeningMigration()];
  await migrateSchema({ url: inject("databaseUrl"), schema: cell, migrations: steps });
  registry = open();
  tenants = Array.from({ length: 6 }, fresh);
  for (const [index, tenantId] of tenants.entries()) {
    await registry.provision(tenantId);
    await (await registry.tenant(tenantId)).write((session) =>
      session.commit(undefined, [session.change(add, { noteId: index, body: tenantId })], []),
    );
  }
});
afterAll(() => registry.close());

const read = async (tenantId: string, from = registry) => (await from.tenant(tenantId)).reader().query(all, {});
const backends = async () =>
  (await registry.owner.query<{ pid: number }>("select pid from pg_stat_activity where usename = $1", [`${cell}_shared`])).rows;

describe("tenants on a shared login", () => {
  test("tenants on a shared login each read their own rows, however their statements interleave", async () => {
    const order = Array.from({ length: 300 }, (_, index) => index % tenants.length);
    const rows = await Promise.all(order.map((index) => read(tenants[index] ?? "")));
    expect(rows).toEqual(order.map((index) => [{ noteId: index, body: tenants[index] }]));
    expect((await backends()).length).toBeLessThanOrEqual(limits.total);
  });

  test("a tenant on a shared login gets nothing by a statement that names another's schema", async () => {
    const [one, two] = [await registry.tenant(tenants[0] ?? ""), await registry.tenant(tenants[1] ?? "")];
    const bent = statement((_: Parameters<object>) => tenantTables<Tables>().withSchema(two.schema).selectFrom("notes").select("body"));
    await expect(one.reader().query(bent, {})).rejects.toMatchObject({ code: "42501" });
    expect(await one.reader().query(all, {})).toHaveLength(1);
  });

  test("a tenant on a shared login takes no more write connections than its limit, so that another finds one free", async () => {
    const [greedy = "", other = ""] = tenants;
    const held = [];
    for (let index = 0; index < limits.perTenant; index++) {
      const session = (await registry.tenant(greedy)).writer();
      await session.begin();
      held.push(session);
    }
    const late = (await registry.tenant(greedy)).writer();
    const refused = expect(late.begin()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const session = (await registry.tenant(other)).writer();
    await session.begin();
    expect(await session.query(all, {})).toHaveLength(1);
    await session.end();
    await refused;
    await Promise.all(held.map((one) => one.end()));
  });

  test("waiters of the tenant with fewer connections go first, so that one tenant's crowd does not starve another", async () => {
    const few = open({ total: 3, perTenant: 2, sharedReaders: 1, readersPerTenant: 1, waitMs: 5_000 });
    const [crowd = "", third = "", other = ""] = tenants;
    // So that all of them are in the queue at once below.
    for (const tenantId of [crowd, third, other]) await few.tenant(tenantId);
    const order: string[] = [];
    const hold = async (tenantId: string) => {
      const session = (await few.tenant(tenantId)).writer();
      await session.begin();
      order.push(tenantId);
      return session;
    };
    const first = [await hold(crowd), await hold(crowd), await hold(third)];
    const waiting = [hold(crowd), hold(crowd), hold(other)];
    await new Promise((resolve) => setImmediate(resolve));
    await first[0]?.end();
    await (await waiting[2])?.end();
    expect(order.slice(3)[0]).toBe(other);
    await Promise.all(first.slice(1).map((session) => session.end()));
    await Promise.all(waiting.slice(0, 2).map(async (session) => (await session).end()));
    await few.close();
  });

  test("a tenant that is dropped and created again under the same id continues in the new role", async () => {
    const tenantId = fresh();
    await registry.provision(tenantId);
    expect(await read(tenantId)).toEqual([]);
    await registry.drop(tenantId);
    await registry.provision(tenantId);
    expect(await read(tenantId)).toEqual([]);
  });
});

describe("a connection", () => {
  test("a connection keeps a limited number of prepared statements, and an evicted one still runs", async () => {
    const own = open({ sharedReaders: 1, readersPerTenant: 1, total: 1 });
    const reader = (await own.tenant(tenants[0] ?? "")).reader();
    const stored = statement((_: Parameters<object>) =>
      tenantTables<Record<string, { name: string }>>().withSchema("pg_catalog").selectFrom("pg_prepared_statements").select("name"),
    );
    const { schema } = await own.tenant(tenants[0] ?? "");
    const superuser = new pg.Client({ connectionString: inject("superuserUrl") });
    await superuser.connect();
    await superuser.query(`grant select on pg_catalog.pg_prepared_statements to "${schema}"`);
    for (let round = 0; round < 4; round++) {
      const responses = await Promise.all(shapes.map((shape) => reader.query(shape, {})));
      expect(responses.map((rows) => rows.length)).toEqual([1, ...Array<number>(shapes.length - 1).fill(0)]);
    }
    for (const shape of shapes) for (let again = 0; again < 3; again++) await reader.query(shape, {});
    expect((await reader.query(stored, {})).length).toBeLessThanOrEqual(limits.preparedStatements);
    expect((await reader.query(stored, {})).length).toBeGreaterThan(0);
    // A right in the system catalogue would keep the role from being dropped.
    await superuser.query(`revoke select on pg_catalog.pg_prepared_statements from "${schema}"`);
    await superuser.end();
    await own.close();
  });

  test("a connection that has served its maximum of tenants is replaced, and no query is lost", async () => {
    const own = open({ tenantsPerConnection: 2, sharedReaders: 1, readersPerTenant: 1 });
    const pid = statement((_: Parameters<object>) =>
      tenantTables<Record<string, object>>().selectNoFrom(({ fn }) => [fn<number>("pg_backend_pid").as("pid")]),
    );
    const pids = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const found = await Promise.all(tenants.map(async (tenantId) => (await own.tenant(tenantId)).reader().first(pid, {})));
      for (const row of found) pids.add(row?.pid ?? 0);
      for (const tenantId of tenants) expect(await read(tenantId, own)).toHaveLength(1);
    }
    expect(pids.size).toBeGreaterThan(1);
    await own.close();
  });

  test("a connection's search path holds only the system's schema", async () => {
    const where = statement((_: Parameters<object>) =>
      tenantTables<Record<string, object>>().selectNoFrom(({ fn, val }) => [
        fn<string>("current_setting", [val("search_path")]).as("path"),
      ]),
    );
    expect(await (await registry.tenant(tenants[0] ?? "")).reader().first(where, {})).toEqual({ path: "pg_catalog,pg_temp" });
  });
});

describe.each(["own", "shared"] as const)("with logins %s", (logins) => {
  test("tenants can be created concurrently without any failing", async () => {
    const own = open({ logins });
    const many = Array.from({ length: 12 }, fresh);
    const again = many.slice(0, 4);
    const made = await Promise.all([...many, ...again].map((tenantId) => own.provision(tenantId)));
    expect(made.filter(({ created }) => created)).toHaveLength(many.length);
    for (const tenantId of many) expect(await read(tenantId, own)).toEqual([]);
    await own.close();
  });

  test("a migration upgrades all tenants, and two of them may run at once", async () => {
    const [here, there] = [open({ logins }), open({ logins })];
    const reports = await Promise.all([here.migrate(), there.migrate()]);
    expect(reports.flatMap(({ failed }) => failed)).toEqual([]);
    for (const [index, tenantId] of tenants.entries()) expect(await read(tenantId, here)).toEqual([{ noteId: index, body: tenantId }]);
    expect((await here.migrate()).migrated).toEqual([]);
    await here.close();
    await there.close();
  });
});
