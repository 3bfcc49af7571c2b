import { configure, StartRefused, startLog } from "@cell/http";
import { migrateSchema } from "@cell/postgres/control";
import { UnusableDatabase } from "@cell/postgres/versions";
import { readMigrationConfig } from "./config.ts";
import { controlPlane } from "./migrations/0001_control_plane.ts";
import { moves } from "./migrations/0002_moves.ts";
import { tenantRateLimit } from "./migrations/0003_tenant_rate_limit.ts";
import { tenantQuota } from "./migrations/0004_tenant_quota.ts";
import { cellDeclarations } from "./migrations/0005_cell_declarations.ts";

/** Migrates the schema `gateway`; resolves to the number of applied migrations. */
export function migrateGateway(databaseUrl: string): Promise<{ applied: number }> {
  const migrations = [controlPlane, moves, tenantRateLimit, tenantQuota, cellDeclarations];
  return migrateSchema({ url: databaseUrl, schema: "gateway", migrations });
}

if (import.meta.main) {
  const log = startLog("gateway migrate");
  const { databaseUrl } = configure(log, readMigrationConfig);
  const { applied } = await migrateGateway(databaseUrl).catch((error) => {
    throw error instanceof UnusableDatabase ? new StartRefused(error.message) : error;
  });
  log.info({ applied }, "migrated");
}
