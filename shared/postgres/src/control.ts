import { CamelCasePlugin, Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { typeParsers } from "./driver/parsing.ts";
import { requireServedVersion } from "./versions.ts";

export interface ControlOptions {
  url: string;
  applicationName: string;
  /** Maximum number of connections. */
  max: number;
  /** Uses before a connection is replaced: a backend never frees the catalogue entries of a table that it touched. */
  maxUses?: number;
}

/** A bounded pool. Lost connections are dropped and do not end the process. */
export function openPool({ url, applicationName, max, maxUses }: ControlOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: applicationName,
    max,
    ...(maxUses === undefined ? {} : { maxUses }),
    types: typeParsers,
    connectionTimeoutMillis: 1_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: 10_000,
    query_timeout: 11_000,
    lock_timeout: 2_000,
    idle_in_transaction_session_timeout: 10_000,
    options: "-c timezone=UTC",
  });
  // A connection lost between two queries emits an error on the client or the pool; without a listener it would end the process.
  pool.on("connect", (client) => client.on("error", () => undefined));
  pool.on("error", () => undefined);
  return pool;
}

/** Kysely over a pool, for tables outside the tenants' schemas: snake_case in SQL, camelCase here. Not for hot paths. */
export function openKysely<Tables>(options: ControlOptions): Kysely<Tables> {
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: openPool(options) }), plugins: [new CamelCasePlugin()] });
}

/** Runs `work` in a transaction. If it fails, the connection is closed, which rolls everything back. */
export async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    const result = await work(client);
    await client.query("commit");
    client.release();
    return result;
  } catch (error) {
    client.release(error instanceof Error ? error : true);
    throw error;
  }
}

/** One migration of a schema; each string holds one statement. Frozen once released. */
export interface SchemaMigration {
  name: string;
  sql: string[];
}

/**
 * Migrates one schema (not a tenant's). The row of `<schema>.schema_version` is both the state and the lock.
 * Resolves to the number of applied migrations. Rejects with the database's error, or an UnusableDatabase; a failed migration changes
 * nothing.
 */
export async function migrateSchema(options: { url: string; schema: string; migrations: SchemaMigration[] }): Promise<{ applied: number }> {
  const { schema, migrations } = options;
  if (!/^[a-z][a-z0-9_]*$/.test(schema)) throw new Error(`"${schema}" is not a schema name`);
  const client = new pg.Client({ connectionString: options.url, application_name: `migrate ${schema}` });
  client.on("error", () => undefined);
  await client.connect();
  try {
    await requireServedVersion(client);
    const version = await oneAtATime(client, async () => {
      const exists = await client.query("select from pg_namespace where nspname = $1", [schema]);
      if (exists.rowCount === 0) await client.query(`create schema ${schema}`);
      await client.query(
        `create table if not exists ${schema}.schema_version (only_row boolean primary key default true check (only_row), version int not null)`,
      );
      await client.query(`insert into ${schema}.schema_version (version) values (0) on conflict do nothing`);
      return versionOf(client, schema);
    });
    for (const [index, migration] of migrations.entries()) {
      await oneAtATime(client, async () => {
        if ((await versionOf(client, schema)) > index) return;
        for (const statement of migration.sql) await client.query(statement);
        await client.query(`update ${schema}.schema_version set version = $1`, [index + 1]);
      });
    }
    return { applied: Math.max(0, migrations.length - version) };
  } finally {
    await client.end();
  }
}

/** Serializes transactions over all schemas: some migrations touch shared objects. After an error the caller closes the connection. */
async function oneAtATime<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query("begin");
  await client.query("select pg_advisory_xact_lock(hashtextextended('migrate', 0))");
  const result = await work();
  await client.query("commit");
  return result;
}

async function versionOf(client: pg.Client, schema: string): Promise<number> {
  const { rows } = await client.query<{ version: number }>(`select version from ${schema}.schema_version`);
  return rows[0]?.version ?? 0;
}
