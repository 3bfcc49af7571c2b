import { createHash } from "node:crypto";
import { notFound } from "@cell/problem";
import type pg from "pg";
import { type ConnectionOptions, Connections } from "./connections.ts";
import { inTransaction, openPool, type SchemaMigration } from "./control.ts";
import { schemaOf, Tenant, tenantLogin } from "./tenants.ts";

/**
 * One step in the history of a tenant's schema: statements, one a string, in which "$tenant" and "$login" (with the quotes) stand for the
 * schema and its login. Frozen once released.
 */
export type TenantMigration = SchemaMigration;

export interface RegistryOptions extends Omit<ConnectionOptions, "applicationName"> {
  /** The cell's name: also the schema of its registry. */
  cell: string;
  migrations: readonly TenantMigration[];
  /** Out of which the tenants' passwords come. */
  loginSecret: string;
}

export interface TenantRow {
  tenantId: string;
  schema: string;
  version: number;
  /** Why the last migration of this tenant failed, if it did. */
  failure: string | null;
}

export interface MigrationReport {
  migrated: string[];
  failed: { tenantId: string; message: string }[];
}

/** The tables of the registry, in the cell's own schema. */
export function registryMigrations(cell: string): SchemaMigration[] {
  return [
    {
      name: "0001_registry",
      sql: [
        `create table ${cell}.tenants (
          tenant_id text primary key, schema text not null unique, version int not null, login_key text not null, failure text,
          created_at timestamptz not null default now())`,
        `revoke all on schema ${cell} from public`,
        "create extension if not exists pg_trgm with schema public",
        `create or replace function public.expect_row(met boolean, label text) returns boolean language plpgsql as $$
          begin
            if met then return true; end if;
            raise exception using errcode = 'CE001', message = label;
          end $$`,
        `do $$ begin
          execute format('revoke temporary on database %I from public', current_database());
          revoke create on schema public from public;
        end $$`,
      ],
    },
  ];
}

/** The tenants of one cell: where each lives, and how one comes, is brought up to date, and goes. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #tenants = new Map<string, Tenant>();
  readonly connections: Connections;
  /** The owner's connections: the registry, migrations, seals; never a request's data. */
  readonly owner: pg.Pool;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.connections = new Connections({ ...options, applicationName: options.cell });
    this.owner = openPool({ url: options.url, applicationName: `${options.cell} owner`, max: 4, maxUses: 500 });
  }

  /** How many steps a tenant's schema must have seen for this program. */
  get version(): number {
    return this.#options.migrations.length;
  }

  /** The handle of a tenant. Throws NOT_FOUND for one that this cell does not hold. */
  async tenant(tenantId: string): Promise<Tenant> {
    const known = this.#tenants.get(tenantId);
    if (known) return known;
    const { cell, loginSecret } = this.#options;
    const { rows } = await this.owner.query<TenantRow>(
      `select tenant_id as "tenantId", schema, version, failure from ${cell}.tenants where tenant_id = $1`,
      [tenantId],
    );
    const [row] = rows;
    if (!row) throw notFound("Tenant");
    const tenant = new Tenant(row, tenantLogin(row.schema, loginSecret), this.connections);
    if (row.version === this.version) this.#tenants.set(tenantId, tenant);
    return tenant;
  }

  /** All tenants, by id. */
  async list(): Promise<TenantRow[]> {
    const { rows } = await this.owner.query<TenantRow>(
      `select tenant_id as "tenantId", schema, version, failure from ${this.#options.cell}.tenants order by tenant_id`,
    );
    return rows;
  }

  /**
   * The tenants for whom an SQL condition holds, `"$tenant"` in it standing for the schema: for the background, which would otherwise open a
   * connection for each of them.
   */
  async tenantsWhere(condition: string): Promise<string[]> {
    const current = (await this.list()).filter(({ version }) => version === this.version);
    const found: string[] = [];
    for (let start = 0; start < current.length; start += 100) {
      const selects = current
        .slice(start, start + 100)
        .map(({ tenantId, schema }) => `select '${tenantId}' as "tenantId" where ${condition.replaceAll('"$tenant"', `"${schema}"`)}`);
      const { rows } = await this.owner.query<{ tenantId: string }>(selects.join(" union all "));
      found.push(...rows.map(({ tenantId }) => tenantId));
    }
    return found;
  }

  /** Makes a tenant's login, schema and tables, or finishes what an earlier call began. Resolves to whether it is new. */
  async provision(tenantId: string): Promise<{ created: boolean }> {
    const { cell } = this.#options;
    const schema = schemaOf(tenantId);
    return inTransaction(this.owner, async (client) => {
      const inserted = await client.query(
        `insert into ${cell}.tenants (tenant_id, schema, version, login_key) values ($1, $2, 0, '') on conflict do nothing`,
        [tenantId, schema],
      );
      await this.#upgrade(client, tenantId);
      return { created: inserted.rowCount === 1 };
    });
  }

  /** Brings every tenant up to date; one that fails is recorded and reported, and stops no other. */
  async migrate(): Promise<MigrationReport> {
    const report: MigrationReport = { migrated: [], failed: [] };
    const key = this.#loginKey();
    const { rows } = await this.owner.query<{ tenantId: string }>(
      `select tenant_id as "tenantId" from ${this.#options.cell}.tenants where version < $1 or login_key <> $2 order by tenant_id`,
      [this.version, key],
    );
    for (const { tenantId } of rows) {
      try {
        await inTransaction(this.owner, (client) => this.#upgrade(client, tenantId));
        report.migrated.push(tenantId);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        await this.owner.query(`update ${this.#options.cell}.tenants set failure = $2 where tenant_id = $1`, [tenantId, message]);
        report.failed.push({ tenantId, message });
      }
      this.#tenants.delete(tenantId);
    }
    return report;
  }

  /** Drops a tenant with all its data. Resolves to whether there was one. */
  async drop(tenantId: string): Promise<{ dropped: boolean }> {
    const { cell, loginSecret } = this.#options;
    const schema = schemaOf(tenantId);
    this.#tenants.delete(tenantId);
    this.connections.closeLogin(tenantLogin(schema, loginSecret));
    return inTransaction(this.owner, async (client) => {
      const deleted = await client.query(`delete from ${cell}.tenants where tenant_id = $1`, [tenantId]);
      if (deleted.rowCount === 0) return { dropped: false };
      await client.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [schema]);
      await client.query(`drop schema if exists "${schema}" cascade`);
      await client.query(`drop owned by "${schema}"`);
      await client.query(`drop role if exists "${schema}"`);
      return { dropped: true };
    });
  }

  /** Rejects while the database cannot be reached. */
  async check(): Promise<void> {
    await this.owner.query("select 1");
  }

  async close(): Promise<void> {
    await this.connections.close();
    await this.owner.end();
  }

  /** The tenant's registry row is the lock: two upgrades of one tenant come one after the other. */
  async #upgrade(client: pg.PoolClient, tenantId: string): Promise<void> {
    const { cell, loginSecret, migrations } = this.#options;
    const { rows } = await client.query<{ schema: string; version: number; loginKey: string }>(
      `select schema, version, login_key as "loginKey" from ${cell}.tenants where tenant_id = $1 for update`,
      [tenantId],
    );
    const [row] = rows;
    if (!row) return;
    const { schema } = row;
    const login = tenantLogin(schema, loginSecret);
    const key = this.#loginKey();
    if (row.loginKey !== key) await this.#grantLogin(client, login.user, login.password);
    if (row.version === 0) {
      await client.query(`create schema if not exists "${schema}"`);
      await client.query(`grant usage on schema "${schema}" to "${schema}"`);
    }
    for (const migration of migrations.slice(row.version)) {
      for (const text of migration.sql)
        await client.query(text.replaceAll('"$tenant"', `"${schema}"`).replaceAll('"$login"', `"${schema}"`));
    }
    await client.query(`update ${cell}.tenants set version = $2, login_key = $3, failure = null where tenant_id = $1`, [
      tenantId,
      Math.max(row.version, migrations.length),
      key,
    ]);
  }

  async #grantLogin(client: pg.PoolClient, user: string, password: string): Promise<void> {
    const { rowCount } = await client.query("select from pg_roles where rolname = $1", [user]);
    await client.query(`${rowCount === 0 ? "create" : "alter"} role "${user}" login noinherit connection limit 64 password '${password}'`);
  }

  /** Tells whether a tenant's password comes out of the present secret, without telling the secret. */
  #loginKey(): string {
    return createHash("sha256").update(`login key ${this.#options.loginSecret}`).digest("hex").slice(0, 16);
  }
}
