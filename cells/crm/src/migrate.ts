import { createLogger } from "@cell/http";
import { migrateSchema, openDoors } from "@cell/postgres";
import { readConfig } from "./config.ts";
import { cellMigrations } from "./migrations/registry.ts";
import { createRegistry } from "./registry.ts";

const config = readConfig();
const log = createLogger("crm migrate", config.logLevel);
const { applied } = await migrateSchema({ url: config.databaseUrl, schema: "crm", migrations: cellMigrations });
const registry = createRegistry({
  databaseUrl: config.databaseUrl,
  loginSecret: config.tenantLoginSecret,
  ...config.connections,
  logins: config.logins,
  statementTimeoutMs: config.statementTimeoutMs,
});
const open = await openDoors(registry.owner);
if (open.length > 0) log.warn({ functions: open }, "the database's owner is no superuser: what everyone may call stays so");
const { migrated, failed } = await registry.migrate();
for (const { tenantId, message } of failed) log.error({ tenantId }, message);
log.info({ applied, tenants: migrated.length, failed: failed.length }, "migrated");
await registry.close();
process.exitCode = failed.length > 0 ? 1 : 0;
