import type { Logger, Registry as Metrics, ValuesOf } from "@cell/http";
import type { Registry, SchemaMigration, TenantMigration } from "@cell/postgres";
import { SealLog } from "./audit/seal-log.ts";
import { Sealer, type SealerOptions } from "./audit/sealer.ts";
import { createCell, type RunningCell } from "./cell.ts";
import type { CellConfig, CellSettings } from "./cell-config.ts";
import { openRegistry } from "./cell-registry.ts";
import type { CellDescription, CellServices, Slice } from "./cell-types.ts";
import { startSweeper } from "./commands/idempotency-sweeper.ts";
import { HardeningMonitor } from "./workers/hardening-monitor.ts";
import type { Background } from "./workers/repeat.ts";

/** Work in the background that belongs to a cell's process. */
export interface CellWorker {
  start(): void;
  /** Resolves when the work under way has ended. */
  stop(): Promise<void>;
  /** A command of the tenant has committed. */
  committed?(tenantId: string): void;
  /** The tenant takes writes again, or for the first time here: what was put off goes on. */
  resumed?(tenantId: string): void;
  register?(metrics: Metrics): void;
}

/** What a cell's own services are made of. */
export interface CellRuntime<Values> {
  registry: Registry;
  log: Logger;
  /** The values of the cell's settings. */
  values: Values;
  /** To be called after work in the background has committed for a tenant: the sealer and the workers are woken. */
  committed(tenantId: string): void;
  /** The same where the trail has grown by what no worker waits for: the sealer alone is woken. */
  trailGrew(tenantId: string): void;
  /** Number of requests that have come to this process so far. */
  requests(): number;
}

export interface OwnServices<Services> {
  /** What the cell's routes use of the process. */
  services: Services;
  /** Started in this order when the process is ready, and stopped in this order. */
  workers?: readonly CellWorker[];
  /** Called when the workers have stopped. */
  close?(): void;
}

/** Everything that makes one cell differ from another. */
export interface CellDefinition<S extends CellSettings = CellSettings, Services extends object = object> extends CellDescription {
  /** The environment variables that it reads: `{ ...cellSettings({ port }), … }`. */
  settings: S;
  /** The history of the cell's own schema; only ever added to, at the end. */
  schemaMigrations: readonly SchemaMigration[];
  /** The history of a tenant's schema; only ever added to, at the end. */
  tenantMigrations: readonly TenantMigration[];
  /** Its routes; of two that match a path, the first one wins. */
  slices: readonly Slice<Services & CellServices>[];
  /** What its routes and workers share, made once for each process; without it the cell has none of its own. */
  services?(runtime: CellRuntime<ValuesOf<S>>): OwnServices<Services>;
}

export interface AssembleOptions {
  log: Logger;
  /** True while the process shuts down. */
  draining(): boolean;
  /** Which tenants the sealer sees: all of the registry's, unless tests say otherwise. */
  sealedTenants?(registry: Registry): SealerOptions["registry"];
  /** Time for a report; the default is the framework's. */
  longResponseMs?: number | undefined;
  /** 1 s by default. */
  lockTimeoutMs?: number | undefined;
}

/** A cell's application with all that belongs to its process, nothing of it started. */
export interface AssembledCell<Services> extends RunningCell {
  registry: Registry;
  sealer: Sealer;
  hardening: HardeningMonitor;
  services: Services & CellServices;
  /** Starts the work in the background. */
  start(): void;
  /** Ends the work in the background and the registry's connections, in the order in which nothing is lost. */
  stop(): Promise<void>;
}

/** Puts a cell together by its definition and configuration. */
export function assembleCell<S extends CellSettings, Services extends object>(
  definition: CellDefinition<S, Services>,
  config: CellConfig & { values: ValuesOf<S> },
  options: AssembleOptions,
): AssembledCell<Services> {
  const { log, lockTimeoutMs, longResponseMs } = options;
  const { tenantLoginSecret: loginSecret, logins, databaseUrl, statementTimeoutMs, sealKeys } = config;
  const registry = openRegistry(definition, {
    ...config.connections,
    databaseUrl,
    loginSecret,
    logins,
    statementTimeoutMs,
    lockTimeoutMs,
  });
  const sealLog = new SealLog(sealKeys.publicKeys, config.sealLog, log);
  const sealer = new Sealer({ registry: options.sealedTenants?.(registry) ?? registry, keys: sealKeys, sealLog, log });
  const hardening = new HardeningMonitor(registry, log);
  const committed = (tenantId: string) => {
    sealer.wake(tenantId);
    for (const worker of workers) worker.committed?.(tenantId);
  };
  const own = definition.services?.({
    registry,
    log,
    values: config.values,
    committed,
    trailGrew: sealer.wake,
    requests: () => cell.metrics.begun,
  });
  const workers = own?.workers ?? [];
  const services = { ...own?.services, sealWitness: sealLog } as Services & CellServices;
  const cell = createCell(
    {
      ...definition,
      registry,
      assertionKeys: config.assertionKeys,
      metricsToken: config.metrics.port === undefined ? config.metrics.token : undefined,
      log,
      draining: options.draining,
      sealingProblems: () => sealer.problems(),
      files: config.files,
      openDoors: () => hardening.count,
      committed,
      sealWitness: sealLog,
      adoptTrail: (tenantId) => sealer.adopt(tenantId),
      endTrail: (tenantId) => sealer.end(tenantId),
      resumed(tenantId) {
        committed(tenantId);
        for (const worker of workers) worker.resumed?.(tenantId);
      },
      ...(longResponseMs === undefined ? {} : { longResponseMs }),
    },
    definition.slices,
    () => services,
  );
  for (const registered of [sealer, hardening, ...workers]) registered.register?.(cell.metrics.registry);
  let sweeper: Background | undefined;
  return {
    ...cell,
    registry,
    sealer,
    hardening,
    services,
    start() {
      sealer.start();
      for (const worker of workers) worker.start();
      sweeper = startSweeper(registry, log);
      hardening.start();
    },
    async stop() {
      for (const worker of workers) await worker.stop();
      own?.close?.();
      await Promise.all([sealer.stop(), sweeper?.stop(), hardening.stop()]);
      await registry.close();
    },
  };
}
