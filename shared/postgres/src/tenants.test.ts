import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { migrateSchema } from "./control.ts";
import { withLogin } from "./pool/connection.ts";
import { placementMigration, Registry, registryMigrations } from "./registry.ts";
import { type Parameters, statement, tenantTables } from "./statement.ts";
import { tenantLogin } from "./tenants.ts";
import "./testing/global-setup.ts";

interface Tables {
  notes: { noteId: number; body: string };
}
const db = tenantTables<Tables>();
const all = statement((_: Parameters<object>) => db.selectFrom("notes").select(["noteId", "body"]).orderBy("noteId"));
const notThere = statement((_: Parameters<object>) => tenantTables<Record<string, { id: number }>>().selectFrom("nowhere").select("id"));
const add = statement((p: Parameters<{ noteId: number; body: string }>) =>
  db.insertInto("notes").values({ noteId: p.noteId, body: p.body }),
);

const cell = `cell_${randomBytes(4).toString("hex")}`;
const secret = "a secret for the tests of tenants alone";
const migrations = [
  {
    name: "1",
    sql: [
      'create table "$tenant".notes (note_id int primary key, body text not null)',
      'grant select, insert on "$tenant".notes to "$login"',
    ],
  },
];
const limits = {
  total: 6,
  perTenant: 4,
  readersPerTenant: 2,
  sharedReaders: 2,
  preparedStatements: 50,
  tenantsPerConnection: 50,
  waitMs: 300,
  idleMs: 30_000,
  maxAgeMs: 600_000,
  statementTimeoutMs: 2_000,
  lockTimeoutMs: 500,
};
const [one, two] = ["a", "b"].map((letter) => `${letter}${randomBytes(5).toString("hex")}`) as [string, string];

let registry: Registry;
const open = (options: object = {}) =>
  new Registry({ cell, url: inject("databaseUrl"), loginSecret: secret, logins: "own", migrations, ...limits, ...options });

beforeAll(async () => {
  await migrateSchema({ url: inject("databaseUrl"), schema: cell, migrations: [...registryMigrations(cell), placementMigration(cell)] });
  registry = open();
  await registry.provision(one);
  await registry.provision(two);
});
afterAll(() => registry.close());

async function write(tenantId: string, noteId: number, body: string): Promise<void> {
  const session = (await registry.tenant(tenantId)).writer();
  try {
    await session.commit(undefined, [session.change(add, { noteId, body })], []);
  } finally {
    await session.end();
  }
}

test("concurrent reads of a command are sent one after the other on its transaction's connection", async () => {
  const warnings: string[] = [];
  const hear = (warning: Error) => warnings.push(warning.message);
  process.on("warning", hear);
  const session = (await registry.tenant(one)).writer();
  await session.begin();
  const responses = await Promise.all(Array.from({ length: 5 }, () => session.query(all, {})));
  expect(new Set(responses.map((rows) => JSON.stringify(rows))).size).toBe(1);
  const [refused, after] = await Promise.allSettled([session.query(notThere, {}), session.query(all, {}), session.query(all, {})]);
  expect(refused).toMatchObject({ status: "rejected", reason: { code: "42P01" } });
  expect(after).toMatchObject({ status: "rejected", reason: { code: "25P02" } });
  const late = session.query(all, {}).catch((error: Error) => error.message);
  await session.end();
  expect(await late).toMatch(/current transaction is aborted|no transaction after end/);
  process.off("warning", hear);
  expect(warnings, "the driver warns of a query that is sent while others run").toEqual([]);
});

describe("a tenant", () => {
  test("a tenant sees what it wrote, and no other tenant does", async () => {
    await write(one, 1, "of one");
    expect(await (await registry.tenant(one)).reader().query(all, {})).toEqual([{ noteId: 1, body: "of one" }]);
    expect(await (await registry.tenant(two)).reader().query(all, {})).toEqual([]);
  });

  test("a tenant's login gets 'permission denied' everywhere else, even for SQL of its own", async () => {
    const { schema } = await registry.tenant(two);
    const client = new pg.Client({
      connectionString: withLogin(inject("databaseUrl"), tenantLogin((await registry.tenant(one)).schema, secret)),
    });
    await client.connect();
    try {
      for (const attempt of [
        `select * from "${schema}".notes`,
        `select query_to_xml('select * from "${schema}".notes', true, true, '')`,
        `set role "${schema}"`,
        "set role postgres",
        `select * from ${cell}.tenants`,
        "create table public.mine (x int)",
        "create temporary table mine (x int)",
        "create schema mine",
        "select pg_read_file('postgresql.conf')",
        "copy (select 1) to program 'true'",
        "update pg_authid set rolpassword = null",
      ]) {
        await expect(client.query(attempt), attempt).rejects.toThrow(/permission denied|must be|cannot|does not exist/);
      }
    } finally {
      await client.end();
    }
  });

  test("a tenant can be provisioned twice, and is dropped with all its data", async () => {
    const tenantId = `d${randomBytes(5).toString("hex")}`;
    expect([await registry.provision(tenantId), await registry.provision(tenantId)]).toEqual([{ created: true }, { created: false }]);
    await write(tenantId, 1, "gone soon");
    expect(await registry.drop(tenantId)).toEqual({ dropped: true });
    expect(await registry.drop(tenantId)).toEqual({ dropped: false });
    await expect(registry.tenant(tenantId)).rejects.toThrow("Tenant not found");
    await registry.provision(tenantId);
    expect(await (await registry.tenant(tenantId)).reader().query(all, {})).toEqual([]);
  });

  test("a tenant id that could name another's schema or break out of its quotes is rejected", async () => {
    for (const tenantId of ["", "A", "a_b", "-a", "a-", 'a"b', "x".repeat(41)])
      await expect(registry.provision(tenantId)).rejects.toThrow("tenant's id");
  });

  test("a tenant is migrated for as long as its data need, but waits only briefly for locks", async () => {
    const asked = `do $$ begin raise '% %', current_setting('statement_timeout'), current_setting('lock_timeout'); end $$`;
    const asking = open({ migrations: [...migrations, { name: "2", sql: [asked] }] });
    try {
      const { failed } = await asking.migrate();
      expect(failed).toEqual(expect.arrayContaining([one, two].map((tenantId) => ({ tenantId, message: "0 2s" }))));
    } finally {
      await asking.close();
    }
  });

  test("a tenant whose migration fails is reported, and does not stop the others", async () => {
    const broken = open({
      migrations: [
        ...migrations,
        { name: "2", sql: ['alter table "$tenant".notes add column extra int', 'insert into "$tenant".notes values (1, null, 1)'] },
      ],
    });
    const extended = open({ migrations: [...migrations, { name: "2", sql: ['alter table "$tenant".notes add column extra int'] }] });
    try {
      const { failed } = await broken.migrate();
      expect(failed.map(({ tenantId }) => tenantId)).toEqual(expect.arrayContaining([one, two]));
      const { migrated } = await extended.migrate();
      expect(migrated).toEqual(expect.arrayContaining([one, two]));
      expect(await (await extended.tenant(one)).reader().query(all, {})).toHaveLength(1);
    } finally {
      await broken.close();
      await extended.close();
    }
  });
});

describe("connections", () => {
  test("connections never exceed the limit, and a request that waits too long fails", async () => {
    const few = open({ total: 3, perTenant: 2 });
    try {
      const sessions = [];
      for (const tenantId of [one, one, two]) {
        const session = (await few.tenant(tenantId)).writer();
        await session.begin();
        sessions.push(session);
      }
      expect(few.connections.open).toBe(3);
      const late = (await few.tenant(two)).writer();
      await expect(late.begin()).rejects.toMatchObject({ code: "UNAVAILABLE" });
      const waiting = (await few.tenant(one)).writer();
      const begun = waiting.begin();
      await sessions[0]?.end();
      await begun;
      await Promise.all([...sessions.slice(1), waiting].map((session) => session.end()));
      expect(few.connections.open).toBe(3);
    } finally {
      await few.close();
    }
  });

  test("connections that the server ends are replaced, and the process continues", async () => {
    const own = open();
    try {
      const tenant = await own.tenant(one);
      const session = tenant.writer();
      await session.begin();
      await registry.owner.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [tenant.schema]);
      await expect(session.query(all, {})).rejects.toMatchObject({ message: expect.stringMatching(/terminat|not queryable/) });
      await session.end();
      expect(await tenant.reader().query(all, {})).toHaveLength(1);
    } finally {
      await own.close();
    }
  });

  test("a connection is leased for a transaction only: late work fails and writes nothing", async () => {
    const tenant = await registry.tenant(one);
    const session = tenant.writer();
    await session.begin();
    await session.end();
    const late = "There is no transaction after end()";
    await expect(session.query(all, {})).rejects.toThrow(late);
    await expect(session.run(add, { noteId: 77, body: "late" })).rejects.toThrow(late);
    await expect(session.commit(undefined, [session.change(add, { noteId: 77, body: "late" })], [])).rejects.toThrow(late);
    await session.end();
    expect((await tenant.reader().query(all, {})).map(({ noteId }) => noteId)).not.toContain(77);
  });

  test("insert many rows or, where one is there already, none; what was sent behind them finds the transaction as it was", async () => {
    const tenant = await registry.tenant(one);
    const session = tenant.writer();
    const rows = (from: number) => ({
      table: "notes",
      columns: ["note_id", "body"],
      values: [from, from + 1].map((noteId) => [noteId, 'tab\t, line\n, \\N, "}']),
      uniqueIndex: "notes_pkey",
    });
    await session.begin();
    const sent = [session.tx.insertAll(rows(501)), session.tx.insertAll(rows(502)), session.tx.insertAll(rows(503))] as const;
    const behind = session.query(all, {});
    expect(await Promise.all(sent)).toEqual([true, false, true]);
    expect((await behind).filter(({ noteId }) => noteId > 500).map(({ noteId }) => noteId)).toEqual([501, 502, 503, 504]);
    await expect(session.tx.insertAll({ ...rows(510), uniqueIndex: "another" })).resolves.toBe(true);
    await session.commit(undefined, [], []);
    await session.end();
    const stored = (await tenant.reader().query(all, {})).filter(({ noteId }) => noteId > 500);
    expect(stored.map(({ noteId }) => noteId)).toEqual([501, 502, 503, 504, 510, 511]);
    expect(stored.map(({ body }) => body)).toEqual(stored.map(() => 'tab\t, line\n, \\N, "}'));
    const other = tenant.writer();
    await other.begin();
    await expect(other.tx.insertAll({ ...rows(510), uniqueIndex: "another" })).rejects.toMatchObject({ code: "23505" });
    await other.end();
  });

  test("write connections that fill the pool make room for a reader", async () => {
    const own = open({ perTenant: 2 });
    try {
      const tenant = await own.tenant(two);
      const sessions = [tenant.writer(), tenant.writer()];
      for (const session of sessions) await session.begin();
      for (const session of sessions) await session.end();
      expect(await Promise.all([tenant.reader().query(all, {}), tenant.reader().query(all, {})])).toEqual([[], []]);
      expect(own.connections.open).toBeLessThanOrEqual(2);
    } finally {
      await own.close();
    }
  });

  test("a connection outlives reads that time out, and completes the queries behind them", async () => {
    const single = open({ readersPerTenant: 1, sharedReaders: 1, statementTimeoutMs: 500, lockTimeoutMs: 10_000 });
    const owner = await registry.owner.connect();
    try {
      const tenant = await single.tenant(one);
      const reader = tenant.reader();
      // After several uses it is a named statement.
      for (let times = 0; times < 3; times++) await reader.query(all, {});
      await owner.query("begin");
      await owner.query(`lock table "${tenant.schema}".notes`);
      const reads = Array.from({ length: 5 }, () => reader.query(all, {}));
      const last = Promise.allSettled(reads).then(async (outcomes) => {
        const behind = reader.query(all, {});
        await owner.query("rollback");
        return [...outcomes, ...(await Promise.allSettled([behind]))];
      });
      const timedOut = { status: "rejected", reason: expect.objectContaining({ code: "TIMEOUT" }) };
      expect(await last).toEqual([...reads.map(() => timedOut), { status: "fulfilled", value: expect.any(Array) }]);
      expect(single.connections.open).toBe(1);
    } finally {
      await owner.query("rollback");
      owner.release();
      await single.close();
    }
  });

  /** Runs work while another transaction locks a tenant's notes. */
  async function whileLocked(schema: string, work: () => Promise<void>): Promise<void> {
    const owner = await registry.owner.connect();
    try {
      await owner.query("begin");
      await owner.query(`lock table "${schema}".notes`);
      await work();
    } finally {
      await owner.query("rollback");
      owner.release();
    }
  }

  test("a long statement has a connection apart from other reads, and too many of them are rejected", async () => {
    const own = open({ readersPerTenant: 1, sharedReaders: 1, perTenant: 4, lockTimeoutMs: 20_000, statementTimeoutMs: 20_000 });
    try {
      const tenant = await own.tenant(one);
      const reader = tenant.reader();
      const long = statement((_: Parameters<object>) => db.selectFrom("notes").selectAll(), { long: true });
      const other = statement((_: Parameters<object>) => db.selectNoFrom(({ fn }) => fn<number>("pg_backend_pid").as("pid")));
      let first: Promise<unknown> | undefined;
      await whileLocked(tenant.schema, async () => {
        first = reader.query(long, {});
        const second = reader.query(long, {});
        second.catch(() => undefined);
        expect(await reader.query(other, {})).toHaveLength(1);
        await expect(second).rejects.toMatchObject({ code: "RATE_LIMITED", headers: { "retry-after": "2" } });
        await expect(tenant.reader(performance.now() - 1).query(long, {})).rejects.toMatchObject({ code: "TIMEOUT" });
      });
      expect(await first).toEqual(expect.any(Array));
      expect(await reader.query(long, {})).toEqual(expect.any(Array));
    } finally {
      await own.close();
    }
  });

  test("a connection whose rows have no consumer any more is closed at once, even before the first row", async () => {
    const own = open({ lockTimeoutMs: 20_000 });
    try {
      const tenant = await own.tenant(one);
      const waiting = "select count(*)::int as waiting from pg_stat_activity where wait_event_type = 'Lock' and query like '%notes%'";
      const backends = async () => (await registry.owner.query<{ waiting: number }>(waiting)).rows[0]?.waiting;
      for (const rows of [
        (signal: AbortSignal) => tenant.stream(all, {}, 10, signal),
        (signal: AbortSignal) => tenant.copy(all, {}, ["noteId"], signal),
      ]) {
        await whileLocked(tenant.schema, async () => {
          const left = new AbortController();
          const next = rows(left.signal).next();
          next.catch(() => undefined);
          await expect.poll(backends).toBe(1);
          left.abort();
          await expect(next).rejects.toMatchObject({ code: "UNAVAILABLE" });
          await expect.poll(backends, { timeout: 10_000 }).toBe(0);
        });
      }
    } finally {
      await own.close();
    }
  });

  test("with a transaction left open by a failed work are rolled back before anyone else gets them", async () => {
    const tenant = await registry.tenant(one);
    const session = tenant.writer();
    await session.begin();
    await session.run(add, { noteId: 99, body: "never" });
    await session.end(new Error("the work failed"));
    expect((await tenant.reader().query(all, {})).map((row) => row.noteId)).not.toContain(99);
  });
});
