import { createLogger } from "@cell/http";
import { migrateSchema } from "@cell/postgres/control";
import { readDatabaseUrl } from "./config.ts";
import { controlPlane } from "./migrations/0001_control_plane.ts";
import { moves } from "./migrations/0002_moves.ts";
import { tenantRateLimit } from "./migrations/0003_tenant_rate_limit.ts";

/** Brings the schema `gateway` up to date; resolves to how many steps were applied. */
export function migrateGateway(databaseUrl: string): Promise<{ applied: number }> {
  return migrateSchema({ url: databaseUrl, schema: "gateway", migrations: [controlPlane, moves, tenantRateLimit] });
}

if (import.meta.main) {
  const { applied } = await migrateGateway(readDatabaseUrl());
  createLogger("gateway", "info").info({ applied }, "migrated");
}
