import { configure, startLog } from "@cell/http";
import { migrateSchema } from "@cell/postgres";
import { readConfig } from "./config.ts";
import { cellMigrations } from "./migrations/registry.ts";
import { createRegistry, requireUsable } from "./registry.ts";

const log = startLog("crm migrate");
const config = configure(log, readConfig);
const registry = createRegistry({
  databaseUrl: config.databaseUrl,
  loginSecret: config.tenantLoginSecret,
  ...config.connections,
  logins: config.logins,
  statementTimeoutMs: config.statementTimeoutMs,
});
await requireUsable(registry);
const { applied } = await migrateSchema({ url: config.databaseUrl, schema: "crm", migrations: cellMigrations });
const open = await registry.unrevokedFunctions();
if (open.length > 0)
  log.warn(
    { open },
    "no superuser has run bootstrap.sql: the tenants' logins may use functions that reach beyond their bounds; crm doctor reports it too",
  );
const { migrated, failed } = await registry.migrate();
for (const { tenantId, message } of failed) log.error({ tenantId }, message);
log.info({ applied, tenants: migrated.length, failed: failed.length }, "migrated");
await registry.close();
process.exitCode = failed.length > 0 ? 1 : 0;
