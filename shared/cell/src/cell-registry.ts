import { StartRefused } from "@cell/http";
import { Registry, type TenantLogins, type TenantMigration, UnusableDatabase } from "@cell/postgres";

export interface RegistryOptions {
  databaseUrl: string;
  loginSecret: string;
  /** Database connections of the cell. */
  total: number;
  /** Database connections of one tenant. */
  perTenant: number;
  /** Default: own. */
  logins?: TenantLogins;
  statementTimeoutMs: number;
  /** Default: 1 s. */
  lockTimeoutMs?: number | undefined;
}

/** The tenants of a cell. Nothing is connected before it is used. */
export function openRegistry(cell: { name: string; tenantMigrations: readonly TenantMigration[] }, options: RegistryOptions): Registry {
  return new Registry({
    cell: cell.name,
    url: options.databaseUrl,
    loginSecret: options.loginSecret,
    migrations: cell.tenantMigrations,
    total: options.total,
    perTenant: options.perTenant,
    readersPerTenant: 3,
    sharedReaders: 16,
    preparedStatements: 384,
    tenantsPerConnection: 400,
    logins: options.logins ?? "own",
    waitMs: 1_000,
    idleMs: 30_000,
    maxAgeMs: 15 * 60_000,
    statementTimeoutMs: options.statementTimeoutMs,
    lockTimeoutMs: options.lockTimeoutMs ?? 1_000,
  });
}

/** Rejects with a StartRefused when the cell may not run on the database, and with the database's error when it does not answer. */
export async function requireUsable(registry: Registry): Promise<void> {
  try {
    await registry.check();
    await registry.requireHardening();
  } catch (error) {
    throw error instanceof UnusableDatabase ? new StartRefused(error.message) : error;
  }
}
