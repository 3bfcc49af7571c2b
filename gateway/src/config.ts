import {
  type AssertionKeys,
  checkMetricsPort,
  databaseUrl,
  type Environment,
  integer,
  list,
  logLevel,
  type MetricsAccess,
  metricsAccessOf,
  processEnvironment,
  readEnv,
  secretOf,
  serverSettings,
  text,
  type ValuesOf,
  type Warn,
} from "@cell/http";
import { parseTrustedProxies, type TrustedProxies } from "./auth/client-address.ts";
import type { AttemptLimits } from "./auth/failed-attempts.ts";
import { checkOidc, type OidcConfig, oidcConfigOf, oidcSettings } from "./auth/oidc/config.ts";
import type { OpenStreamLimits } from "./limits/open-streams.ts";
import type { Rates } from "./limits/rate-limits.ts";
import { parseOrigins } from "./proxy/cors.ts";

export interface Timeouts {
  /** Time to connect to a cell. */
  connectMs: number;
  /** Time until a cell's response begins. */
  headersMs: number;
  /** The same for routes that are declared slow. */
  slowHeadersMs: number;
  /** Time between two pieces of a response. */
  bodyIdleMs: number;
  /** Time for a caller to send a whole request. */
  requestMs: number;
  /** Time between SIGTERM and closing the listener. */
  drainDelayMs: number;
  /** Time for running requests to finish after that. */
  drainMs: number;
}

/** Maximum of concurrent requests per partition. */
export interface BulkheadSizes {
  requests: number;
  /** Routes that declare the bulkhead `streams`, and large or chunked bodies. */
  streams: number;
  /** A tenant's share of each. */
  tenantPercent: number;
  /** Concurrent requests of one tenant in a partition while other tenants send some; does not apply to streams. */
  tenantConcurrency: number;
}

/** A cell and its partitions' addresses; the partitions are named `<cell>-1`, `<cell>-2`, … in this order. */
export interface CellConfig {
  name: string;
  urls: string[];
}

/** A path prefix of a cell, besides `/api/v1/<cell>`. */
export interface PathPrefix {
  cell: string;
  /** Whole segments, without a trailing slash. */
  path: string;
}

export interface Config {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  /** The platform operator's bearer key; undefined: there is no operator. */
  operatorKey: string | undefined;
  /** Undefined: only API keys are accepted. */
  oidc: OidcConfig | undefined;
  failedAttempts: AttemptLimits;
  trustedProxies: TrustedProxies;
  rateLimits: Rates;
  bulkheads: BulkheadSizes;
  cells: CellConfig[];
  /** Cells receive these paths unchanged. */
  cellPrefixes: readonly PathPrefix[];
  openStreams: OpenStreamLimits;
  metrics: MetricsAccess;
  /** Origins whose pages may call the gateway from a browser. */
  corsOrigins: ReadonlySet<string>;
  /** The middle part of issued keys: `crm_<keyEnvironment>_…`. */
  keyEnvironment: string;
  logLevel: string;
  timeouts: Timeouts;
}

/** Every environment variable of the gateway. */
export const gatewaySettings = {
  ...serverSettings({ port: 8080, drainMs: 10_000 }),
  operatorKey: text("OPERATOR_KEY", {
    isSecret: true,
    parse: secretOf(24),
    whenUnset: "there is no operator",
    meaning: "The platform operator's bearer key, 24 characters or more.",
  }),
  cells: list("CELLS", {
    isRequired: true,
    parse: parseCells,
    meaning: "The cells and their addresses, written name=http://host:port; a cell named twice has two partitions.",
  }),
  cellPrefixes: list("CELL_PREFIXES", {
    parse: parsePrefixes,
    whenUnset: "none",
    meaning: "Further paths of cells, written messaging=/ws/chat, which the cell receives unchanged; the longest match wins.",
  }),
  keyEnvironment: text("KEY_ENVIRONMENT", {
    default: "live",
    parse: parseKeyEnvironment,
    meaning: "Middle part of the API keys that are issued: crm_live_…",
  }),
  ...oidcSettings,
  trustedProxies: list("TRUSTED_PROXIES", {
    parse: parseTrustedProxies,
    whenUnset: "none",
    meaning: "Networks, such as 10.0.0.0/8,fd00::/8, whose X-Forwarded-For is trusted.",
  }),
  corsOrigins: list("CORS_ORIGINS", {
    parse: parseOrigins,
    whenUnset: "none",
    meaning: "Origins, such as https://app.example, whose pages may call the gateway from a browser, with a token and never with cookies.",
  }),
  attemptsBurst: integer("FAILED_ATTEMPTS_BURST", {
    default: 100,
    min: 1,
    unit: "attempts",
    meaning: "Failed authentication attempts per address that are allowed at once.",
  }),
  attemptsPerMinute: integer("FAILED_ATTEMPTS_PER_MINUTE", {
    default: 20,
    min: 1,
    unit: "attempts/min",
    meaning: "Failed authentication attempts per address that are allowed after that.",
  }),
  rateLimitToken: integer("RATE_LIMIT_TOKEN", {
    default: 500,
    unit: "requests/s",
    meaning: "Requests per token, with bursts of twice as many; 0: no limit.",
  }),
  rateLimitTenant: integer("RATE_LIMIT_TENANT", {
    default: 2_000,
    unit: "requests/s",
    meaning: "Requests per tenant, with bursts of twice as many; 0: no limit.",
  }),
  upstreamRequests: integer("UPSTREAM_REQUESTS", {
    default: 512,
    min: 1,
    unit: "requests",
    formerName: "LANE_REQUESTS",
    meaning: "Concurrent requests per partition.",
  }),
  upstreamStreams: integer("UPSTREAM_STREAMS", {
    default: 256,
    min: 1,
    unit: "requests",
    formerName: "LANE_STREAMS",
    meaning: "Concurrent imports, exports and large bodies per partition.",
  }),
  upstreamTenantPercent: integer("UPSTREAM_TENANT_PERCENT", {
    default: 25,
    max: 100,
    unit: "%",
    formerName: "LANE_TENANT_PERCENT",
    meaning: "A tenant's share of either number.",
  }),
  upstreamTenantConcurrency: integer("UPSTREAM_TENANT_CONCURRENCY", {
    default: 8,
    min: 1,
    unit: "requests",
    formerName: "LANE_TENANT_TURNS",
    meaning: "Concurrent requests of one tenant in a partition while other tenants wait.",
  }),
  openStreams: integer("OPEN_STREAMS", {
    default: 2_000,
    min: 1,
    unit: "streams",
    meaning: "Open event streams and WebSockets in this process.",
  }),
  openStreamsTenant: integer("OPEN_STREAMS_TENANT", { default: 1_000, min: 1, unit: "streams", meaning: "The same, per tenant." }),
  openStreamsToken: integer("OPEN_STREAMS_TOKEN", { default: 100, min: 1, unit: "streams", meaning: "The same, per token." }),
  connectMs: integer("CONNECT_TIMEOUT_MS", { default: 250, unit: "ms", meaning: "Time to connect to a cell." }),
  headersMs: integer("HEADERS_TIMEOUT_MS", { default: 5_000, unit: "ms", meaning: "Time until a cell's response begins." }),
  slowHeadersMs: integer("SLOW_HEADERS_TIMEOUT_MS", {
    default: 120_000,
    unit: "ms",
    meaning: "Time until the response of a slow route, such as an import or export, begins.",
  }),
  bodyIdleMs: integer("BODY_IDLE_TIMEOUT_MS", { default: 60_000, unit: "ms", meaning: "Time between two pieces of a cell's response." }),
  requestMs: integer("REQUEST_TIMEOUT_MS", { default: 120_000, unit: "ms", meaning: "Time for a caller to send a whole request." }),
};

type Values = ValuesOf<typeof gatewaySettings>;

/** The gateway's configuration. Throws a StartRefused that names every missing or invalid variable. */
export function readConfig(env: Environment = processEnvironment, warn?: Warn): Config {
  const values: Values = readEnv(gatewaySettings, env, {
    warn,
    check(found, report) {
      checkMetricsPort(found, report);
      checkOidc(found, report);
      checkPrefixes(found, report);
    },
  });
  return {
    host: values.host,
    port: values.port,
    databaseUrl: values.databaseUrl,
    assertionKeys: values.assertionKeys,
    operatorKey: values.operatorKey,
    oidc: oidcConfigOf(values),
    failedAttempts: { burst: values.attemptsBurst, perMinute: values.attemptsPerMinute },
    trustedProxies: values.trustedProxies,
    rateLimits: { token: values.rateLimitToken, tenant: values.rateLimitTenant },
    bulkheads: {
      requests: values.upstreamRequests,
      streams: values.upstreamStreams,
      tenantPercent: values.upstreamTenantPercent,
      tenantConcurrency: values.upstreamTenantConcurrency,
    },
    cells: values.cells,
    cellPrefixes: values.cellPrefixes ?? [],
    openStreams: { process: values.openStreams, tenant: values.openStreamsTenant, token: values.openStreamsToken },
    metrics: metricsAccessOf(values),
    corsOrigins: values.corsOrigins ?? new Set(),
    keyEnvironment: values.keyEnvironment,
    logLevel: values.logLevel,
    timeouts: timeoutsOf(values),
  };
}

function timeoutsOf({ connectMs, headersMs, slowHeadersMs, bodyIdleMs, requestMs, drainDelayMs, drainMs }: Values): Timeouts {
  return { connectMs, headersMs, slowHeadersMs, bodyIdleMs, requestMs, drainDelayMs, drainMs };
}

/** The settings that migrating the control plane needs. */
export const migrationSettings = { databaseUrl, logLevel };

/** Throws a StartRefused that names every missing or invalid variable. */
export function readMigrationConfig(env: Environment = processEnvironment, warn?: Warn): ValuesOf<typeof migrationSettings> {
  return readEnv(migrationSettings, env, { warn });
}

/**
 * Parses `crm=http://host:port[,messaging=…]`; a cell named twice has two partitions. Throws an Error that continues the setting's name.
 */
export function parseCells(value: string): CellConfig[] {
  const cells = new Map<string, string[]>();
  for (const part of value.split(",")) {
    const [, name, address = ""] = /^\s*([a-z][a-z0-9-]{0,29})=(\S+)\s*$/.exec(part) ?? [];
    const parsed = URL.parse(address);
    if (!name || parsed?.protocol !== "http:" || parsed.pathname !== "/" || parsed.search)
      throw new Error(`must be written name=http://host:port, by comma, not "${part}"`);
    cells.set(name, [...(cells.get(name) ?? []), parsed.origin]);
  }
  return [...cells].map(([name, urls]) => ({ name, urls }));
}

/** Paths that the gateway serves itself. */
const ownPaths = /^\/(?:api$|api\/v1$|(?:health|ready|metrics|docs|openapi|internal|api\/admin)(?:\/|$))/;

function parsePrefixes(value: string): PathPrefix[] {
  return value.split(",").map((part) => {
    const [, cell, path] = /^\s*([a-z][a-z0-9-]{0,29})=((?:\/[A-Za-z0-9._~-]+)+)\s*$/.exec(part) ?? [];
    if (!cell || !path) throw new Error(`must be written cell=/path, by comma, not "${part}"`);
    if (ownPaths.test(path)) throw new Error(`must not have ${path}, which the gateway serves itself`);
    return { cell, path };
  });
}

function checkPrefixes({ cells = [], cellPrefixes = [] }: Partial<Values>, report: (name: string, fault: string) => void): void {
  for (const [index, { cell, path }] of cellPrefixes.entries()) {
    if (!cells.some(({ name }) => name === cell)) report("CELL_PREFIXES", `must name cells of CELLS, not "${cell}"`);
    const isTaken = cells.some(({ name }) => path === `/api/v1/${name}`) || cellPrefixes.findIndex((other) => other.path === path) < index;
    if (isTaken) report("CELL_PREFIXES", `must not have ${path} twice`);
  }
}

function parseKeyEnvironment(value: string): string {
  if (!/^[a-z0-9]{1,12}$/.test(value)) throw new Error(`must be 1 to 12 of a-z and 0-9, not "${value}"`);
  return value;
}
