import { type Login, schemaOf, type TenantLogins, tenantLogin, withLogin } from "@cell/postgres";
import { fingerprint, inspect } from "@cell/postgres/testing/inspect";
import { createManagedDatabase } from "@cell/postgres/testing/server";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { type Attack, selectAttacks, statementAttacks } from "./database-attacks.ts";
import { type StartedTestCell, testLoginSecret } from "./start-test-cell.ts";

/** What a cell brings to `describeLogins`. */
export interface LoginsWorld {
  /** Its name, which is also the schema of its registry. */
  cell: string;
  start(options: { logins: TenantLogins; databaseUrl?: string }): Promise<StartedTestCell<object>>;
  /** The collection in which records are created, and the body of one. */
  path: string;
  record(text: string): object;
  /** The table of these records, whose primary key has the default name, and a text column of it. */
  table: string;
  column: string;
  /** Attacks on what only this cell has. */
  selectAttacks?: readonly Attack[];
  statementAttacks?: readonly Attack[];
  /** Ends work in the background that would change the other tenant's tables. */
  settle?(cell: StartedTestCell<object>): Promise<void>;
}

/** Attacks PostgreSQL from the tenants' database logins, and looks for what its catalogue gives them beyond their own schema. */
export function describeLogins(world: LoginsWorld): void {
  let cell: StartedTestCell<object>;
  let shared: StartedTestCell<object>;
  let mine: string;
  let theirs: string;
  let before: Record<string, string>;
  let theirConnection: pg.Client;
  const clients: pg.Client[] = [];

  async function connect(login: Login): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: withLogin(inject("databaseUrl"), login) });
    await client.connect();
    clients.push(client);
    return client;
  }
  const loginOf = (tenantId: string) => tenantLogin(schemaOf(tenantId), testLoginSecret);

  beforeAll(async () => {
    cell = await world.start({ logins: "own" });
    shared = await world.start({ logins: "shared" });
    // Of the shared login's, so that both modes are tried on the same two.
    mine = await shared.tenant();
    theirs = await shared.tenant();
    for (const tenantId of [mine, theirs]) await shared.client(tenantId).post(world.path, { body: world.record(`Of ${tenantId}`) });
    await world.settle?.(shared);
    theirConnection = await connect(loginOf(theirs));
    before = await fingerprint(theirs);
  });
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.end()));
    await cell.stop();
    await shared.stop();
  });

  async function expectRefused(client: pg.Client, attacks: readonly Attack[], queryMode: "simple" | "extended"): Promise<void> {
    const unexpected: string[] = [];
    const owner = decodeURIComponent(new URL(inject("databaseUrl")).username);
    const { rows } = await theirConnection.query<{ pid: number }>("select pg_backend_pid() as pid");
    for (const [attempt, state] of attacks) {
      if (queryMode === "simple" && state === "42601") continue;
      const text = attempt
        .replaceAll("'$theirs'", `'${schemaOf(theirs)}'`)
        .replaceAll("$theirs", `"${schemaOf(theirs)}"`)
        .replaceAll("$mine", `"${schemaOf(mine)}"`)
        .replaceAll("$owner", `"${owner}"`)
        .replaceAll("$pid", String(rows[0]?.pid))
        .replaceAll("$cell", world.cell)
        .replaceAll("$table", world.table)
        .replaceAll("$column", world.column);
      const query = { text, ...(queryMode === "extended" ? { queryMode } : {}) };
      const outcome = await client.query(query).then(
        () => "done",
        (error: pg.DatabaseError) => error.code,
      );
      if (!state.split("|").includes(outcome ?? "")) unexpected.push(`${outcome}, not ${state}: ${attempt}`);
    }
    expect(unexpected).toEqual([]);
    expect(await fingerprint(theirs)).toEqual(before);
  }

  describe("a tenant's own login", () => {
    test("a tenant's own login is denied every attack on other schemas, the registry, the server and its own audit trail", async () => {
      const client = await connect(loginOf(mine));
      await expectRefused(
        client,
        [...selectAttacks, ...statementAttacks, ...(world.selectAttacks ?? []), ...(world.statementAttacks ?? [])],
        "simple",
      );
    });

    test("leaves no transaction behind for others to find, as two-phase commits do", async () => {
      const client = await connect(loginOf(mine));
      await client.query("begin");
      await client.query(`select from "${schemaOf(mine)}".settings for update`);
      await expect(client.query("prepare transaction 'other'")).rejects.toMatchObject({ code: "55000" });
    });

    test("a tenant's own login cannot open a replication connection", async () => {
      const client = new pg.Client({
        connectionString: withLogin(inject("databaseUrl"), loginOf(mine)),
        replication: "database",
      } as object);
      await expect(client.connect()).rejects.toMatchObject({ code: expect.stringMatching(/^(42501|28000)$/) });
    });

    test("gives away no right that it has, and what it changes of itself reaches nobody else", async () => {
      const client = await connect(loginOf(mine));
      const warnings: string[] = [];
      client.on("notice", (notice) => warnings.push(notice.message ?? ""));
      await client.query(`grant select on "${schemaOf(mine)}".${world.table} to "${schemaOf(theirs)}"`);
      expect(warnings).toEqual([expect.stringContaining("no privileges were granted")]);
      await client.query(`alter role "${schemaOf(mine)}" set search_path = "${schemaOf(theirs)}"`);
      const again = await connect(loginOf(mine));
      await expect(again.query(`select * from ${world.table}`)).rejects.toMatchObject({ code: "42P01" });
      await inspect(mine, `alter role "${schemaOf(mine)}" reset all`);
    });
  });

  describe("the shared login", () => {
    const sharedLogin = tenantLogin(`${world.cell}_shared`, testLoginSecret);

    test("the shared login has no rights before it takes a tenant's role", async () => {
      const client = await connect(sharedLogin);
      for (const table of [`"${schemaOf(mine)}".${world.table}`, `${world.cell}.tenants`])
        await expect(client.query(`select * from ${table}`)).rejects.toMatchObject({ code: "42501" });
    });

    test("in a tenant's role is refused what a bent SELECT could try", async () => {
      const client = await connect(sharedLogin);
      await client.query(`set role "${schemaOf(mine)}"`);
      await expectRefused(client, [...selectAttacks, ...(world.selectAttacks ?? [])], "extended");
      expect((await client.query("select current_user as role")).rows).toEqual([{ role: schemaOf(mine) }]);
    });

    test("serves who was made with logins of their own once they are migrated, and no more when they are migrated back", async () => {
      const tenantId = await cell.tenant();
      expect((await cell.client(tenantId).post(world.path, { body: world.record("Kept") })).status).toBe(201);
      expect((await shared.client(tenantId).get(world.path)).status).toBe(503);
      await shared.registry.provision(tenantId);
      expect((await shared.client(tenantId).get(world.path)).body.total).toBe(1);
      expect((await cell.client(tenantId).get(world.path)).body.total).toBe(1);
      await cell.registry.provision(tenantId);
      const client = await connect(sharedLogin);
      await expect(client.query(`set role "${schemaOf(tenantId)}"`)).rejects.toMatchObject({ code: "42501" });
      expect((await cell.client(tenantId).get(world.path)).body.total).toBe(1);
    });
  });

  describe("the catalogue", () => {
    const look = <Row extends object>(sql: string) => inspect<Row>(mine, sql);

    test("gives a tenant's login nothing outside of its schema: no table, no sequence, no schema to make things in, no role, no attribute", async () => {
      const role = `'${schemaOf(mine)}'`;
      expect(
        await look(`select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname not in ('pg_catalog', 'information_schema', ${role}) and n.nspname not like 'pg_t%' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
          and case when c.relkind = 'S' then has_sequence_privilege(${role}, c.oid, 'usage, select, update')
            else has_any_column_privilege(${role}, c.oid, 'select, insert, update, references') or has_table_privilege(${role}, c.oid, 'delete, truncate, trigger') end`),
      ).toEqual([]);
      expect(
        await look(`select nspname from pg_namespace where has_schema_privilege(${role}, oid, 'create')
        or (has_schema_privilege(${role}, oid, 'usage') and nspname not in ('pg_catalog', 'information_schema', 'public', ${role}))`),
      ).toEqual([]);
      expect(await look(`select roleid from pg_auth_members where member = ${role}::regrole`)).toEqual([]);
      expect(
        await look(`select rolname from pg_roles where rolname in (${role}, '${world.cell}_shared')
        and (rolsuper or rolinherit or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)`),
      ).toEqual([]);
      expect(await look(`select 1 where has_database_privilege(${role}, current_database(), 'create, temporary')`)).toEqual([]);
    });

    test("the database has no function that runs with its owner's rights", async () => {
      expect(await look("select oid::regprocedure from pg_proc where prosecdef")).toEqual([]);
    });

    test("ties no two schemas, and has no trigger, rule or view on a tenant's tables: a schema can be a shard", async () => {
      // Other test files attack the tables of their own tenants.
      const tenants = `n.nspname in ('${schemaOf(mine)}', '${schemaOf(theirs)}')`;
      expect(
        await look(`select k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
        join pg_class other on other.oid = k.confrelid where ${tenants} and k.contype = 'f' and other.relnamespace <> c.relnamespace`),
      ).toEqual([]);
      for (const [catalogue, of] of [
        ["pg_trigger", "tgrelid"],
        ["pg_rewrite", "ev_class"],
        ["pg_policy", "polrelid"],
      ] as const) {
        const internal = catalogue === "pg_trigger" ? "and not tgisinternal" : "";
        expect(
          await look(
            `select c.relname from ${catalogue} x join pg_class c on c.oid = x.${of} join pg_namespace n on n.oid = c.relnamespace where ${tenants} ${internal}`,
          ),
          catalogue,
        ).toEqual([]);
      }
      expect(
        await look(
          `select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where ${tenants} and c.relkind not in ('r', 'i', 'S', 't')`,
        ),
      ).toEqual([]);
    });
  });

  describe("a cell on a database that no superuser has prepared", () => {
    test("a cell on an unprepared database serves and drops tenants, and reports unrevoked functions", async () => {
      const managed = await world.start({ databaseUrl: await createManagedDatabase(inject("superuserUrl")), logins: "own" });
      const tenantId = await managed.tenant();
      const created = await managed.client(tenantId).post(world.path, { body: world.record("Managed") });
      expect(created.status).toBe(201);
      const { checks } = (await (await fetch(`${managed.url}/ready`)).json()) as { checks: { openDoors: number } };
      expect(checks.openDoors).toBeGreaterThan(50);
      expect(await managed.metrics()).toContain(`cell_open_doors ${checks.openDoors}\n`);
      expect(await managed.registry.drop(tenantId)).toEqual({ dropped: true });
      await managed.stop();

      const prepared = (await (await fetch(`${cell.url}/ready`)).json()) as { checks: object };
      expect(prepared.checks).not.toHaveProperty("openDoors");
      expect(await cell.metrics()).toContain("cell_open_doors 0\n");
    });
  });
}
