import { notFound } from "@cell/problem";
import { LRUCache } from "lru-cache";
import pg from "pg";
import { inTransaction, openPool, type SchemaMigration } from "./control.ts";
import { typeParsers } from "./driver/parsing.ts";
import { unrevokedFunctions } from "./hardening.ts";
import { Logins, type TenantLogins } from "./logins.ts";
import { type ConnectionOptions, TenantPool } from "./pool/tenant-pool.ts";
import { isConnectionLoss } from "./problems.ts";
import { schemaOf, Tenant, type TenantState } from "./tenants.ts";
import { requireServedVersion, UnusableDatabase } from "./versions.ts";

/**
 * Sends one statement of a migration. "$tenant" and "$login" (with the quotes) stand for the schema and its login. Resolves to its rows.
 */
export type MigrationQuery = <Row extends object = object>(text: string, values?: unknown[]) => Promise<Row[]>;

/** One migration of a tenant's schema; "$tenant" and "$login" stand in its statements too. Frozen once released. */
export interface TenantMigration extends SchemaMigration {
  /** Fills data that SQL alone cannot compute; runs after the statements. */
  fill?(query: MigrationQuery): Promise<void>;
}

export interface RegistryOptions extends Omit<ConnectionOptions, "applicationName"> {
  /** The cell's name, which is also the schema of its registry. */
  cell: string;
  migrations: readonly TenantMigration[];
  /** The secret from which the tenants' passwords are derived. */
  loginSecret: string;
  logins: TenantLogins;
}

export interface TenantRow {
  tenantId: string;
  schema: string;
  version: number;
  /** Why the last migration of this tenant failed, if it did. */
  failure: string | null;
  state: TenantState;
  /** Number of the last move that changed the state here. */
  epoch: number;
}

export interface MigrationReport {
  migrated: string[];
  failed: { tenantId: string; message: string }[];
}

/** The registry's tables, in the cell's own schema. */
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

/**
 * What moving tenants between partitions needs in the registry; a migration of the cell's own schema, after those of `registryMigrations`.
 */
export function placementMigration(cell: string): SchemaMigration {
  return {
    name: "placement",
    sql: [
      `alter table ${cell}.tenants
        add column state text not null default 'active' check (state in ('active', 'paused', 'arriving', 'arrived', 'moved')),
        add column epoch bigint not null default 0,
        -- what was taken away and will be put back: rights, keys, indexes
        add column held jsonb`,
    ],
  };
}

const rowColumns = `tenant_id as "tenantId", schema, version, failure, state, epoch`;
/** Limit of cached tenant handles, about a kilobyte each. */
const mostHandles = 10_000;
/** Cache time of a state other than active, which is about to change. */
const passingStateMs = 100;

/** The tenants of one cell: looks up, provisions, migrates and drops them. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #logins: Logins;
  readonly #tenants = new LRUCache<string, Tenant>({ max: mostHandles });
  readonly connections: TenantPool;
  /** The owner's connections, for the registry, migrations and seals; never for a request's data. */
  readonly owner: pg.Pool;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#logins = new Logins(options);
    this.connections = new TenantPool({ ...options, applicationName: options.cell });
    this.owner = openPool({ url: options.url, applicationName: `${options.cell} owner`, max: 4, maxUses: 500 });
  }

  get cell(): string {
    return this.#options.cell;
  }

  /** The number of migrations that this program's tenant schemas need. */
  get version(): number {
    return this.#options.migrations.length;
  }

  /** A tenant's handle. Throws NOT_FOUND for a tenant that this cell does not hold. */
  async tenant(tenantId: string): Promise<Tenant> {
    const known = this.#tenants.get(tenantId);
    if (known && (known.state === "active" || performance.now() - known.stateReadAtMs < passingStateMs)) return known;
    const { rows } = await this.owner.query<TenantRow & { loginKey: string }>(
      `select ${rowColumns}, login_key as "loginKey" from ${this.#options.cell}.tenants where tenant_id = $1`,
      [tenantId],
    );
    const [found] = rows;
    if (!found) throw notFound("Tenant");
    const row = { ...found, version: this.#logins.accepts(found.loginKey) ? found.version : 0 };
    const handle = this.#tenants.get(tenantId);
    if (handle?.version === row.version) {
      handle.setState(row);
      return handle;
    }
    const tenant = new Tenant(row, this.#logins.access(row.schema), this.connections);
    if (row.version === this.version) this.#tenants.set(tenantId, tenant);
    return tenant;
  }

  /** Reads a tenant's state again, because the database or another process has changed it. */
  refresh(tenantId: string): Promise<Tenant> {
    this.#tenants.get(tenantId)?.doubtState();
    return this.tenant(tenantId);
  }

  /** Locks the tenant's row in share mode until the owner's transaction ends. False: the tenant must not be written to now. */
  async mayWrite(client: pg.ClientBase, tenantId: string): Promise<boolean> {
    const { rows } = await client.query<{ state: TenantState }>(
      `select state from ${this.#options.cell}.tenants where tenant_id = $1 for share`,
      [tenantId],
    );
    return rows[0]?.state === "active";
  }

  /** A connection of the owner for long work, outside the pool and without its timeouts; `end` it. */
  async openOwner(purpose: string): Promise<pg.Client> {
    const { cell, url } = this.#options;
    const client = new pg.Client({
      connectionString: url,
      application_name: `${cell} ${purpose}`,
      types: typeParsers,
      connectionTimeoutMillis: 2_000,
      options: "-c timezone=UTC",
      keepAlive: true,
    });
    // A connection lost between two queries emits an error, which would end the process without a listener.
    client.on("error", () => undefined);
    await client.connect();
    return client;
  }

  /** Creates the schema of an arriving tenant at the given version, inside the owner's transaction. */
  async makeArriving(client: pg.ClientBase, tenantId: string, epoch: number, version: number): Promise<void> {
    await client.query(
      `insert into ${this.#options.cell}.tenants (tenant_id, schema, version, login_key, state, epoch) values ($1, $2, 0, '', 'arriving', $3)`,
      [tenantId, schemaOf(tenantId), epoch],
    );
    await this.#upgrade(client, tenantId, version);
  }

  /** All tenants, by id. */
  async list(): Promise<TenantRow[]> {
    const { rows } = await this.owner.query<TenantRow>(`select ${rowColumns} from ${this.#options.cell}.tenants order by tenant_id`);
    return rows;
  }

  /**
   * The tenants for which an SQL condition holds; `"$tenant"` in it stands for the schema. For background work, which would otherwise open
   * a connection per tenant. Tenants whose tables the condition cannot read are included. `once`: closes the connection afterwards, which
   * would otherwise keep the catalogue entries of all their tables.
   */
  async tenantsWhere(condition: string, { once = false } = {}): Promise<string[]> {
    const current = (await this.list()).filter(({ version, state }) => version === this.version && state === "active");
    const found: string[] = [];
    // Acquired late: a task that holds a connection and waits for another one could deadlock with its like.
    const client = await this.owner.connect();
    let failed = true;
    try {
      const select = async (tenants: readonly TenantRow[]): Promise<string[]> => {
        const selects = tenants.map(
          ({ tenantId, schema }) => `select '${tenantId}' as "tenantId" where ${condition.replaceAll('"$tenant"', `"${schema}"`)}`,
        );
        try {
          return (await client.query<{ tenantId: string }>(selects.join(" union all "))).rows.map(({ tenantId }) => tenantId);
        } catch (error) {
          if (isConnectionLoss(error)) throw error;
          // One tenant's broken tables must not keep the others from their work.
          if (tenants.length === 1) return tenants.map(({ tenantId }) => tenantId);
          const single: string[] = [];
          for (const tenant of tenants) single.push(...(await select([tenant])));
          return single;
        }
      };
      for (let start = 0; start < current.length; start += 100) found.push(...(await select(current.slice(start, start + 100))));
      failed = false;
    } finally {
      client.release(once || failed);
    }
    return found;
  }

  /** Size of a tenant's tables and indexes in bytes, including dead rows that are not vacuumed yet. */
  async storedBytes(tenantId: string): Promise<number> {
    const { rows } = await this.owner.query<{ bytes: number }>(
      `select coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint as bytes from pg_class
        join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relkind = 'r'`,
      [schemaOf(tenantId)],
    );
    return rows[0]?.bytes ?? 0;
  }

  /** Creates a tenant's login, schema and tables, or finishes what an earlier call began. Resolves to whether it is new. */
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

  /**
   * Migrates every tenant, each for as long as its data need, but waits at most 2 s for locks. A tenant whose migration fails is recorded
   * and reported, and does not stop the others.
   */
  async migrate(): Promise<MigrationReport> {
    const report: MigrationReport = { migrated: [], failed: [] };
    await inTransaction(this.owner, (client) => this.#logins.renew(client));
    const { key } = this.#logins;
    const { rows } = await this.owner.query<{ tenantId: string }>(
      `select tenant_id as "tenantId" from ${this.#options.cell}.tenants where (version < $1 or login_key <> $2)
        and state not in ('arriving', 'moved') order by tenant_id`,
      [this.version, key],
    );
    let client: pg.Client | undefined;
    for (const { tenantId } of rows) {
      try {
        client ??= await this.openOwner("migrate");
        await client.query("begin; set local lock_timeout = '2s'");
        await this.#upgrade(client, tenantId);
        await client.query("commit");
        report.migrated.push(tenantId);
      } catch (error) {
        await client?.end();
        client = undefined;
        const message = error instanceof Error ? error.message : String(error);
        await this.owner.query(`update ${this.#options.cell}.tenants set failure = $2 where tenant_id = $1`, [tenantId, message]);
        report.failed.push({ tenantId, message });
      }
      this.#tenants.delete(tenantId);
    }
    await client?.end();
    return report;
  }

  /** Drops a tenant with all its data. Resolves to whether it existed. */
  async drop(tenantId: string): Promise<{ dropped: boolean }> {
    const { cell } = this.#options;
    const schema = schemaOf(tenantId);
    this.#tenants.delete(tenantId);
    this.connections.closeLogin(schema);
    return inTransaction(this.owner, async (client) => {
      const deleted = await client.query(`delete from ${cell}.tenants where tenant_id = $1`, [tenantId]);
      if (deleted.rowCount === 0) return { dropped: false };
      await this.#logins.takeOver(client, schema);
      await client.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [schema]);
      await client.query(`drop schema if exists "${schema}" cascade`);
      await client.query(`drop owned by "${schema}"`);
      await client.query(`drop role if exists "${schema}"`);
      this.connections.forgetRole(schema);
      return { dropped: true };
    });
  }

  /** Rejects while the database cannot be reached, and with an UnusableDatabase for an unsupported version. */
  check(): Promise<void> {
    return requireServedVersion(this.owner);
  }

  /**
   * The names of the functions and views that tenants' logins may use although they reach beyond their bounds; empty once `bootstrap.sql`
   * has run.
   */
  unrevokedFunctions(): Promise<string[]> {
    return unrevokedFunctions(this.owner);
  }

  /** Rejects with an UnusableDatabase if tenants would share a login without the database being hardened. */
  async requireHardening(): Promise<void> {
    if (this.#options.logins !== "shared") return;
    const open = await this.unrevokedFunctions();
    if (open.length === 0) return;
    throw new UnusableDatabase(
      `TENANT_LOGINS=shared needs a database that a superuser has prepared by deploy/postgres/bootstrap.sql: ${open.length} functions and ` +
        "views that reach beyond a tenant's bounds are open to every login. Use TENANT_LOGINS=own without a superuser.",
    );
  }

  async close(): Promise<void> {
    await this.connections.close();
    await this.owner.end();
  }

  /** The tenant's registry row is the lock: upgrades of one tenant are serialized. */
  async #upgrade(client: pg.ClientBase, tenantId: string, upTo = this.version): Promise<void> {
    const { cell, migrations } = this.#options;
    const { rows } = await client.query<{ schema: string; version: number; loginKey: string }>(
      `select schema, version, login_key as "loginKey" from ${cell}.tenants where tenant_id = $1 for update`,
      [tenantId],
    );
    const [row] = rows;
    if (!row) return;
    const { schema } = row;
    const { key } = this.#logins;
    if (row.loginKey !== key) await this.#logins.grant(client, schema);
    if (row.version === 0) {
      await client.query(`create schema if not exists "${schema}"`);
      await client.query(`grant usage on schema "${schema}" to "${schema}"`);
    }
    const query: MigrationQuery = async <Row extends object>(text: string, values?: unknown[]) =>
      (await client.query<Row>(text.replaceAll('"$tenant"', `"${schema}"`).replaceAll('"$login"', `"${schema}"`), values)).rows;
    for (const migration of migrations.slice(row.version, upTo)) {
      for (const text of migration.sql) await query(text);
      await migration.fill?.(query);
    }
    await client.query(`update ${cell}.tenants set version = $2, login_key = $3, failure = null where tenant_id = $1`, [
      tenantId,
      Math.max(row.version, upTo),
      key,
    ]);
  }
}
