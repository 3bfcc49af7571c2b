import { StartRefused } from "@cell/http";
import { Registry, type TenantLogins, UnusableDatabase } from "@cell/postgres";
import { tenantMigrations } from "./migrations/tenant.ts";

/** The tenants of this cell. */
export function createRegistry(options: {
  databaseUrl: string;
  loginSecret: string;
  total: number;
  perTenant: number;
  /** Default: own. */
  logins?: TenantLogins;
  statementTimeoutMs: number;
  /** Default: 1 s. */
  lockTimeoutMs?: number | undefined;
}): Registry {
  return new Registry({
    cell: "crm",
    url: options.databaseUrl,
    loginSecret: options.loginSecret,
    migrations: tenantMigrations,
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

/** Rejects with a StartRefused if the cell cannot run on the database, and with the database's error if it is not reachable. */
export async function requireUsable(registry: Registry): Promise<void> {
  try {
    await registry.check();
    await registry.requireHardening();
  } catch (error) {
    throw error instanceof UnusableDatabase ? new StartRefused(error.message) : error;
  }
}
