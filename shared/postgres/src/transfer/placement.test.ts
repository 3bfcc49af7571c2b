import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { migrateSchema } from "../control.ts";
import { placementMigration, Registry, registryMigrations, type TenantMigration } from "../registry.ts";
import "../testing/global-setup.ts";
import { createTestDatabase } from "../testing/server.ts";
import { differingTables } from "./digest.ts";
import { Placement } from "./placement.ts";
import { readTransfer } from "./read.ts";
import type { SequenceState } from "./tables.ts";

const cell = `cell_${randomBytes(4).toString("hex")}`;
const first: TenantMigration = {
  name: "1",
  sql: [
    'create table "$tenant".people (person_id int primary key, name text not null unique, chief int references "$tenant".people)',
    `create table "$tenant".notes (note_id int generated always as identity primary key, person_id int not null references "$tenant".people,
      body text, loud text generated always as (upper(body)) stored, data jsonb, raw bytea)`,
    'create index notes_body on "$tenant".notes (body)',
    "insert into \"$tenant\".people (person_id, name) values (0, 'made with the schema')",
    'create unlogged table "$tenant".sums (people int not null)',
    'grant select, insert, update, delete on "$tenant".people to "$login"',
    'grant select, insert (person_id, body, data, raw) on "$tenant".notes to "$login"',
    'grant select, insert on "$tenant".sums to "$login"',
  ],
};
const second: TenantMigration = { name: "2", sql: ['alter table "$tenant".notes add column checked boolean not null default false'] };

interface Partition {
  registry: Registry;
  placement: Placement;
  url: string;
}
const opened: Partition[] = [];
let here: Partition;
let there: Partition;

async function open(url: string, migrations: readonly TenantMigration[]): Promise<Partition> {
  await migrateSchema({ url, schema: cell, migrations: [...registryMigrations(cell), placementMigration(cell)] });
  const registry = new Registry({
    ...{ cell, url, migrations, loginSecret: "a secret for the tests of placement alone", logins: "own", preparedStatements: 100 },
    ...{ total: 8, perTenant: 4, readersPerTenant: 2, sharedReaders: 2, tenantsPerConnection: 4 },
    ...{ waitMs: 1_000, idleMs: 30_000, maxAgeMs: 600_000, statementTimeoutMs: 5_000, lockTimeoutMs: 1_000 },
  });
  const partition = { registry, placement: new Placement(registry), url };
  opened.push(partition);
  return partition;
}

async function database(): Promise<string> {
  return (await createTestDatabase(inject("superuserUrl"), `placement_${randomBytes(4).toString("hex")}`)).crm;
}

async function sql<Row extends object>(url: string, text: string, role?: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    if (role) await client.query(`set role "${role}"`);
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

/** As the tenant's own login. */
const asTenant = ({ url }: Partition, tenantId: string, text: string) => sql(url, text, `tenant_${tenantId}`);
const schema = (tenantId: string) => `"tenant_${tenantId}"`;

beforeAll(async () => {
  here = await open(await database(), [first]);
  there = await open(await database(), [first]);
});
afterAll(() => Promise.all(opened.map(({ registry }) => registry.close())));

async function filled(tenantId: string): Promise<void> {
  await here.registry.provision(tenantId);
  await asTenant(
    here,
    tenantId,
    `insert into ${schema(tenantId)}.people select n, 'person ' || n, null from generate_series(1, 300) n;
     update ${schema(tenantId)}.people set chief = 301 - person_id where person_id > 0;
     insert into ${schema(tenantId)}.notes (person_id, body, data, raw)
       select n, E'a tab\\t, a \\\\ and\\na line ' || n, '{"a": [1, null]}', decode('00ff', 'hex') from generate_series(1, 300) n;
     insert into ${schema(tenantId)}.sums values (300);
     insert into ${schema(tenantId)}.notes (person_id, body) values (1, null), (2, ''), (3, E'\\\\.'), (4, E'x\\n\\\\.\\n')`,
  );
}

type Since = { since?: string; tables?: string[] };

/** Transfers rows in small pieces, as the gateway does. */
async function carry(from: Partition, to: Partition, tenantId: string, epoch: number, { since, tables }: Since = {}) {
  const seen = { snapshot: "", sequences: [] as SequenceState[] };
  const begun = new Set<string>();
  for await (const piece of readTransfer(from.placement.rows(tenantId, { since, tables, digest: false }), 1_000)) {
    if (piece.kind === "head") seen.snapshot = piece.head.snapshot;
    else if (piece.kind === "end") seen.sequences = piece.end.sequences;
    else {
      const mode = since ? "merge" : tables && !begun.has(piece.table) ? "replace" : "copy";
      begun.add(piece.table);
      await to.placement.load(tenantId, epoch, { ...piece, mode });
    }
  }
  return seen;
}

async function differing(tenantId: string): Promise<string[]> {
  return differingTables(await here.placement.digest(tenantId), await there.placement.digest(tenantId));
}

test("a transfer keeps rows as they were: awkward text, nulls, generated columns, cyclic keys, sequences", async () => {
  await filled("whole");
  await there.placement.attach("whole", 1, 1);
  const { sequences } = await carry(here, there, "whole", 1);
  await there.placement.index("whole", 1);
  expect(await differing("whole")).toEqual([]);
  await there.placement.complete("whole", 1, sequences);
  await there.placement.resume("whole", 1);
  await there.placement.finalize("whole");
  expect(await sql(there.url, `select from ${schema("whole")}.sums`)).toEqual([]);
  const all = `select * from ${schema("whole")}.notes order by note_id`;
  expect(await sql(there.url, all)).toEqual(await sql(here.url, all));
  await asTenant(there, "whole", `insert into ${schema("whole")}.notes (person_id, body) values (5, 'next')`);
  expect(await sql(there.url, `select max(note_id) as last from ${schema("whole")}.notes`)).toEqual([{ last: 305 }]);
  await expect(asTenant(there, "whole", `insert into ${schema("whole")}.notes (person_id) values (999)`)).rejects.toThrow(
    "notes_person_id_fkey",
  );
  const shape = (url: string) =>
    sql(url, `select indexdef from pg_indexes where schemaname = 'tenant_whole' order by 1`).then(async (indexes) => [
      indexes,
      await sql(
        url,
        `select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'tenant_whole'::regnamespace order by 1`,
      ),
      await sql(
        url,
        `select relname, relacl::text from pg_class where relnamespace = 'tenant_whole'::regnamespace and relkind in ('r', 'S') order by 1`,
      ),
      await sql(
        url,
        `select attrelid::regclass::text, attname, attacl::text from pg_attribute where attacl is not null and attrelid::regclass::text like 'tenant_whole%' order by 1, 2`,
      ),
    ]);
  expect(await shape(there.url)).toEqual(await shape(here.url));
});

test("a second transfer brings what changed since the first: new rows, changed ones, swapped names; a table with deletions in full", async () => {
  await filled("late");
  await there.placement.attach("late", 1, 1);
  const slow = new pg.Client({ connectionString: here.url });
  await slow.connect();
  await slow.query(`begin; insert into ${schema("late")}.people values (500, 'written before the copy, committed after it')`);
  const { snapshot } = await carry(here, there, "late", 1);
  await slow.query("commit");
  await slow.end();
  await there.placement.index("late", 1);
  const people = `${schema("late")}.people`;
  await asTenant(
    here,
    "late",
    `update ${people} set name = 'person 3 now' where person_id = 3; update ${people} set name = 'person 3' where person_id = 2;
     insert into ${people} values (1000, 'person 2', 1); insert into ${schema("late")}.notes (person_id, body) values (1000, 'late')`,
  );
  const { snapshot: later } = await carry(here, there, "late", 1, { since: snapshot });
  expect(await differing("late")).toEqual([]);
  const { snapshot: arrived } = await there.placement.digest("late");
  await asTenant(here, "late", `insert into ${people} values (1001, 'later still')`);
  await carry(here, there, "late", 1, { since: later });
  expect(await differing("late")).toEqual([]);
  await sql(there.url, `update ${people} set name = 'not what was sent' where person_id = 1001`);
  const since = [await here.placement.digest("late", later), await there.placement.digest("late", arrived)] as const;
  expect(differingTables(...since)).toContain("people");
  await carry(here, there, "late", 1, { since: later });
  await asTenant(here, "late", `delete from ${people} where person_id = 0`);
  await carry(here, there, "late", 1, { since: snapshot });
  expect(await differing("late")).toEqual(["people"]);
  await carry(here, there, "late", 1, { tables: ["people"] });
  expect(await differing("late")).toEqual([]);
});

test("a pause waits for writers, and the database itself denies later ones until it ends", async () => {
  await filled("paused");
  const writer = new pg.Client({ connectionString: here.url });
  await writer.connect();
  await writer.query(`set role "tenant_paused"; begin; insert into ${schema("paused")}.people values (2000, 'under way')`);
  let isPaused = false;
  const pausing = here.placement.pause("paused", 1).then(() => {
    isPaused = true;
  });
  let id = 3_000;
  const outcome = () =>
    asTenant(here, "paused", `insert into ${schema("paused")}.people values (${++id}, 'late ${id}')`).then(
      () => "taken",
      (error: Error) => error.message,
    );
  while ((await outcome()) === "taken");
  expect(await outcome()).toBe("permission denied for table people");
  expect(isPaused).toBe(false);
  await writer.query("commit");
  await writer.end();
  await pausing;
  expect((await asTenant(here, "paused", `select from ${schema("paused")}.people where person_id = 2000`)).length).toBe(1);
  expect((await here.registry.tenant("paused")).state).toBe("paused");
  const restarted = await open(here.url, [first]);
  expect((await restarted.registry.tenant("paused")).state).toBe("paused");
  await restarted.placement.resume("paused", 1);
  expect(await outcome()).toBe("taken");
});

test("steps of an earlier move are rejected, and a copy can neither replace nor drop a tenant that is served", async () => {
  await filled("served");
  await expect(here.placement.attach("served", 1, 1)).rejects.toThrow("serves served");
  await expect(here.placement.discard("served", 1)).rejects.toThrow("serves served");
  await here.placement.pause("served", 5);
  await expect(here.placement.discard("served", 5)).rejects.toThrow("serves served");
  await here.placement.resume("served", 6);
  await expect(here.placement.pause("served", 5)).rejects.toThrow("move 6 has begun");
  await expect(here.placement.detach("served", 6)).rejects.toThrow("is active here");
  await expect(there.placement.attach("served", 1, 9)).rejects.toThrow("upgrade it first");
  expect((await here.registry.tenant("served")).state).toBe("active");
});

test("a copy of an earlier version arrives as it was and is migrated afterwards", async () => {
  await filled("old");
  const newer = await open(await database(), [first, second]);
  await newer.placement.attach("old", 1, 1);
  const { sequences } = await carry(here, newer, "old", 1);
  await newer.placement.index("old", 1);
  expect(differingTables(await here.placement.digest("old"), await newer.placement.digest("old"))).toEqual([]);
  await newer.placement.complete("old", 1, sequences);
  await newer.placement.resume("old", 1);
  await newer.registry.provision("old");
  expect((await newer.registry.tenant("old")).version).toBe(2);
  expect(await asTenant(newer, "old", `select count(*)::int as n from ${schema("old")}.notes where not checked`)).toEqual([{ n: 304 }]);
});

test("an incomplete transfer is recognized", async () => {
  await filled("half");
  const chunks: Buffer[] = [];
  for await (const chunk of here.placement.rows("half", { since: undefined, tables: undefined, digest: true })) chunks.push(chunk);
  const whole = Buffer.concat(chunks);
  const read = async (bytes: Buffer) => {
    const parts = Array.from({ length: Math.ceil(bytes.length / 7) }, (_, index) => bytes.subarray(index * 7, index * 7 + 7));
    let rows = 0;
    for await (const piece of readTransfer(
      (async function* () {
        yield* parts;
      })(),
      500,
    ))
      if (piece.kind === "rows") rows += piece.rows.toString().split("\n").length - 1;
    return rows;
  };
  expect(await read(whole)).toBe(301 + 304);
  await expect(read(whole.subarray(0, -10))).rejects.toThrow("ended before it was complete");
  await expect(read(Buffer.from("nothing of the kind\n"))).rejects.toThrow("not a copy of a tenant");
});
