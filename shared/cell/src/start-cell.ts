import {
  configure,
  databaseUrl,
  type Logger,
  logLevel,
  readEnv,
  type Server,
  StartRefused,
  serve,
  serveMetrics,
  startLog,
  stopOnSignals,
  type ValuesOf,
  version,
} from "@cell/http";
import { migrateSchema, type Registry } from "@cell/postgres";
import { assembleCell, type CellDefinition } from "./assemble-cell.ts";
import { type CellSettings, readCellConfig } from "./cell-config.ts";
import { openRegistry, requireUsable } from "./cell-registry.ts";

/** Time for a caller to send a whole request; the gateway gives up before that. */
const requestTimeoutMs = 300_000;

/**
 * Runs a cell as this process until SIGTERM: it reads its settings, serves its routes and metrics, works in the background, and drains at the
 * end. Rejects with a StartRefused where settings are missing or the database is one on which the cell may not run.
 */
export async function startCell<S extends CellSettings, Services extends object>(definition: CellDefinition<S, Services>): Promise<void> {
  const log = startLog(definition.name);
  const config = configure(log, (env, warn) => readCellConfig(definition.settings, env, warn));
  let server: Server | undefined;
  const cell = assembleCell(definition, config, { log, draining: () => server?.draining ?? false });
  await requireUsableIfReachable(cell.registry, log);
  const { port: metricsPort, token } = config.metrics;
  const metricsServer =
    metricsPort === undefined ? undefined : await serveMetrics(cell.metrics.registry, config.host, { port: metricsPort, token });
  server = await serve({
    fetch: cell.app.fetch,
    host: config.host,
    port: config.port,
    log,
    requestTimeoutMs,
    drainDelayMs: config.drainDelayMs,
    drainTimeoutMs: config.drainMs,
    async close() {
      await metricsServer?.stop();
      await cell.stop();
    },
  });
  cell.start();
  stopOnSignals(server, log);
  log.info({ version, url: server.url, metrics: metricsServer?.url ?? `${server.url}/metrics` }, "ready");
}

/** A database that is away for the moment does not keep the cell from starting. */
async function requireUsableIfReachable(registry: Registry, log: Logger): Promise<void> {
  try {
    await requireUsable(registry);
  } catch (error) {
    if (error instanceof StartRefused) throw error;
    log.warn({ err: error }, "the database does not answer");
  }
}

/** Of a cell's settings, those that its migration reads. */
function migrationSettings({ tenantLoginSecret, tenantLogins, connections, tenantConnections, statementTimeoutMs }: CellSettings) {
  return { databaseUrl, logLevel, tenantLoginSecret, tenantLogins, connections, tenantConnections, statementTimeoutMs };
}

/**
 * Brings the schemas of a cell and of its tenants up to date, as this process. The exit code is 1 where a tenant could not be migrated. Rejects
 * with a StartRefused as `startCell` does.
 */
export async function migrateCell<S extends CellSettings, Services extends object>(definition: CellDefinition<S, Services>): Promise<void> {
  const log = startLog(`${definition.name} migrate`);
  const config = configure(log, (env, warn) => readEnv(migrationSettings(definition.settings), env, { warn }));
  const registry = openMigratedRegistry(definition, config);
  await requireUsable(registry);
  const { name: schema, schemaMigrations: migrations } = definition;
  const { applied } = await migrateSchema({ url: config.databaseUrl, schema, migrations: [...migrations] });
  const unrevoked = await registry.unrevokedFunctions();
  if (unrevoked.length > 0)
    log.warn(
      { open: unrevoked },
      "no superuser has run bootstrap.sql: the tenants' logins may use functions that reach beyond their bounds; crm doctor reports it too",
    );
  const { migrated, failed } = await registry.migrate();
  for (const { tenantId, message } of failed) log.error({ tenantId }, message);
  log.info({ applied, tenants: migrated.length, failed: failed.length }, "migrated");
  await registry.close();
  process.exitCode = failed.length > 0 ? 1 : 0;
}

function openMigratedRegistry(
  cell: Pick<CellDefinition, "name" | "tenantMigrations">,
  config: ValuesOf<ReturnType<typeof migrationSettings>>,
): Registry {
  return openRegistry(cell, {
    databaseUrl: config.databaseUrl,
    loginSecret: config.tenantLoginSecret,
    total: config.connections,
    perTenant: config.tenantConnections,
    logins: config.tenantLogins,
    statementTimeoutMs: config.statementTimeoutMs,
  });
}
