import {
  type AssertionKeys,
  checkMetricsPort,
  choice,
  type Environment,
  integer,
  type MetricsAccess,
  metricsAccessOf,
  pem,
  processEnvironment,
  readEnv,
  serverSettings,
  text,
  type ValuesOf,
  type Warn,
} from "@cell/http";
import type { TenantLogins } from "@cell/postgres";
import { parsePublicKeys, parseSealKey, type SealKeys, sealKeysOf } from "./audit/seal.ts";
import { type FileLimits, fileLimits } from "./csv/file-limits.ts";

/** What every cell is configured with. */
export interface CellConfig {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  tenantLoginSecret: string;
  sealKeys: SealKeys;
  /** The file to which each seal is handed; undefined hands it to the log alone. */
  sealLog: string | undefined;
  metrics: MetricsAccess;
  logLevel: string;
  connections: { total: number; perTenant: number };
  /** What exports and other files may take. */
  files: FileLimits;
  /** Whether each tenant has a database login of its own, or all of them share one. */
  logins: TenantLogins;
  statementTimeoutMs: number;
  drainDelayMs: number;
  drainMs: number;
}

export const tenantLogins = choice("TENANT_LOGINS", ["own", "shared"], {
  default: "own",
  meaning:
    "own gives each tenant a database login; shared gives all of them one, which is refused where no superuser has run bootstrap.sql. Run the cell's migration after a change.",
});

/** The environment variables that every cell reads; `port`: the cell's own default. */
export function cellSettings({ port }: { port: number }) {
  return {
    ...serverSettings({ port, drainMs: 25_000 }),
    tenantLoginSecret: text("TENANT_LOGIN_SECRET", {
      isRequired: true,
      isSecret: true,
      parse: parseLoginSecret,
      meaning: "Secret of 32 characters or more from which the tenants' database passwords follow.",
    }),
    tenantLogins,
    sealKey: pem("SEAL_KEY", {
      isRequired: true,
      isSecret: true,
      parse: parseSealKey,
      meaning: "Ed25519 private key that signs the audit trail's seals.",
    }),
    sealPublicKeys: pem("SEAL_PUBLIC_KEYS", {
      parse: parsePublicKeys,
      whenUnset: "none",
      meaning:
        "Public keys of earlier seals, one after the other: without them sealing stops after a rotation, and earlier seals do not verify.",
    }),
    sealLog: text("SEAL_LOG", { whenUnset: "the log alone", meaning: "File to which each seal is handed." }),
    connections: integer("DATABASE_CONNECTIONS", {
      default: 120,
      min: 1,
      max: 10_000,
      unit: "connections",
      meaning: "Database connections of the cell.",
    }),
    tenantConnections: integer("TENANT_CONNECTIONS", {
      default: 16,
      min: 1,
      max: 10_000,
      unit: "connections",
      meaning: "Database connections of one tenant.",
    }),
    statementTimeoutMs: integer("STATEMENT_TIMEOUT_MS", { default: 3_000, unit: "ms", meaning: "Time for one statement." }),
    fileBytesPerSecond: integer("FILE_BYTES_PER_SECOND", {
      default: fileLimits.bytesPerSecond,
      max: 1_000_000_000,
      unit: "bytes/s",
      meaning: "Least rate at which a file is read; a slower reader is cut off.",
    }),
    fileRateWindowMs: integer("FILE_RATE_WINDOW_MS", {
      default: fileLimits.windowMs,
      unit: "ms",
      meaning: "Time over which that rate is measured.",
    }),
  };
}

export type CellSettings = ReturnType<typeof cellSettings>;

/**
 * A cell's configuration and the values of all its settings: `settings` are those of every cell and its own. Throws a StartRefused that names
 * every variable that is missing or wrong.
 */
export function readCellConfig<S extends CellSettings>(
  settings: S,
  env: Environment = processEnvironment,
  warn?: Warn,
): CellConfig & { values: ValuesOf<S> } {
  const declared: CellSettings = settings;
  const values = readEnv(declared, env, { warn, check: checkMetricsPort });
  return { ...configOf(values), values: values as ValuesOf<S> };
}

function configOf(values: ValuesOf<CellSettings>): CellConfig {
  const connections = { total: values.connections, perTenant: values.tenantConnections };
  return {
    host: values.host,
    port: values.port,
    databaseUrl: values.databaseUrl,
    assertionKeys: values.assertionKeys,
    tenantLoginSecret: values.tenantLoginSecret,
    sealKeys: sealKeysOf(values.sealKey, values.sealPublicKeys ?? []),
    sealLog: values.sealLog,
    metrics: metricsAccessOf(values),
    logLevel: values.logLevel,
    connections,
    files: { ...filesWithin(connections), bytesPerSecond: values.fileBytesPerSecond, windowMs: values.fileRateWindowMs },
    logins: values.tenantLogins,
    statementTimeoutMs: values.statementTimeoutMs,
    drainDelayMs: values.drainDelayMs,
    drainMs: values.drainMs,
  };
}

/** How many files may be on their way so that connections are left for other requests: of a tenant, and of all. */
export function filesWithin({ total, perTenant }: CellConfig["connections"]): Pick<FileLimits, "perTenant" | "inAll"> {
  return {
    perTenant: Math.max(1, Math.min(fileLimits.perTenant, Math.floor(perTenant / 3))),
    inAll: Math.max(1, Math.floor(total / 2)),
  };
}

function parseLoginSecret(value: string): string {
  if (value.length < 32) throw new Error("must have 32 characters or more");
  return value;
}
