import { type AssertionKeys, type MetricsAccess, parseAssertionKeys, parseMetricsAccess } from "@cell/http";
import { parseTrustedProxies, type TrustedProxies } from "./auth/client-address.ts";
import type { AttemptLimits } from "./auth/failed-attempts.ts";
import { ownRoleNames } from "./auth/oidc/claims.ts";
import { isFetchable } from "./auth/oidc/fetch-json.ts";
import { type Role, roleNames } from "./auth/roles.ts";
import type { Rates } from "./limits/rate-limits.ts";
import { parseOrigins } from "./proxy/cors.ts";

export interface Timeouts {
  /** To open a connection to a cell. */
  connectMs: number;
  /** Until a cell's answer begins. */
  headersMs: number;
  /** The same for the routes in `slow-routes.ts`. */
  slowHeadersMs: number;
  /** Between two pieces of an answer. */
  bodyIdleMs: number;
  /** For a caller to send a whole request. */
  requestMs: number;
  /** Between SIGTERM and the listener's closing. */
  drainDelayMs: number;
  /** For running requests to end after that. */
  drainMs: number;
}

/** How many requests may run at once to one partition. */
export interface BulkheadSizes {
  requests: number;
  /** Slow routes that are declared so, large or chunked bodies and event streams. */
  streams: number;
  /** What one tenant may have of each. */
  tenantPercent: number;
  /** How many requests of one tenant are with a partition at once while other tenants ask; streams have no turns. */
  tenantConcurrency: number;
}

/** A cell and where its partitions are, in the order in which they are named `<cell>-1`, `<cell>-2`, … */
export interface CellConfig {
  name: string;
  urls: string[];
}

/** Whose access tokens are taken beside API keys, and how they are read. */
export interface OidcConfig {
  issuer: string;
  audience: string;
  claims: {
    tenant: string;
    roles: string;
    /** Undefined: the roles alone decide. */
    permissions: string | undefined;
  };
  /** Our roles by the names that the issuer has for them. */
  roleNames: ReadonlyMap<string, Role>;
  /** What `typ` may say, in lower case. */
  tokenTypes: readonly string[];
  /** For discovery and keys together. */
  timeoutMs: number;
  /** How often the keys are read again. */
  keysRefreshMs: number;
  /** How soon an unknown key may have them read again. */
  keysCooldownMs: number;
  /** Plain http on this machine, for development. */
  allowLoopback: boolean;
}

export interface Config {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  /** The platform operator's bearer key; without one there is no operator. */
  operatorKey: string | undefined;
  /** Undefined: API keys alone are taken. */
  oidc: OidcConfig | undefined;
  failedAttempts: AttemptLimits;
  trustedProxies: TrustedProxies;
  rateLimits: Rates;
  bulkheads: BulkheadSizes;
  cells: CellConfig[];
  metrics: MetricsAccess;
  /** Whose pages may call the gateway from a browser. */
  corsOrigins: ReadonlySet<string>;
  /** The middle part of the keys that are issued here: `crm_<keyEnvironment>_…`. */
  keyEnvironment: string;
  logLevel: string;
  timeouts: Timeouts;
}

type Environment = Record<string, string | undefined>;

/** The gateway's settings. Throws an Error that names the variable at fault. */
export function readConfig(env: Environment = process.env): Config {
  const port = integer(env, "PORT", 8080, 65_535);
  return {
    host: env.HOST ?? "127.0.0.1",
    port,
    databaseUrl: required(env, "DATABASE_URL"),
    assertionKeys: named("ASSERTION_KEYS", () => parseAssertionKeys(required(env, "ASSERTION_KEYS"))),
    operatorKey: named("OPERATOR_KEY", () => parseOperatorKey(env.OPERATOR_KEY)),
    oidc: readOidc(env),
    failedAttempts: {
      burst: positive(env, "FAILED_ATTEMPTS_BURST", 100),
      perMinute: positive(env, "FAILED_ATTEMPTS_PER_MINUTE", 20),
    },
    trustedProxies: named("TRUSTED_PROXIES", () => parseTrustedProxies(env.TRUSTED_PROXIES ?? "")),
    rateLimits: { token: integer(env, "RATE_LIMIT_TOKEN", 500), tenant: integer(env, "RATE_LIMIT_TENANT", 2_000) },
    bulkheads: {
      requests: positive(env, "LANE_REQUESTS", 512),
      streams: positive(env, "LANE_STREAMS", 256),
      tenantPercent: integer(env, "LANE_TENANT_PERCENT", 25, 100),
      tenantConcurrency: positive(env, "LANE_TENANT_TURNS", 8),
    },
    cells: named("CELLS", () => parseCells(required(env, "CELLS"))),
    metrics: parseMetricsAccess(env.METRICS_PORT, env.METRICS_TOKEN, port),
    corsOrigins: named("CORS_ORIGINS", () => parseOrigins(env.CORS_ORIGINS ?? "")),
    keyEnvironment: named("KEY_ENVIRONMENT", () => parseKeyEnvironment(env.KEY_ENVIRONMENT ?? "live")),
    logLevel: named("LOG_LEVEL", () => parseLogLevel(env.LOG_LEVEL ?? "info")),
    timeouts: {
      connectMs: integer(env, "CONNECT_TIMEOUT_MS", 250),
      headersMs: integer(env, "HEADERS_TIMEOUT_MS", 5_000),
      slowHeadersMs: integer(env, "SLOW_HEADERS_TIMEOUT_MS", 120_000),
      bodyIdleMs: integer(env, "BODY_IDLE_TIMEOUT_MS", 60_000),
      requestMs: integer(env, "REQUEST_TIMEOUT_MS", 120_000),
      drainDelayMs: integer(env, "DRAIN_DELAY_MS", 0),
      drainMs: integer(env, "DRAIN_TIMEOUT_MS", 10_000),
    },
  };
}

function readOidc(env: Environment): OidcConfig | undefined {
  const issuer = env.OIDC_ISSUER;
  if (!issuer) return undefined;
  const allowLoopback = named("OIDC_ALLOW_LOOPBACK", () => parseSwitch(env.OIDC_ALLOW_LOOPBACK ?? "0"));
  if (!isFetchable(issuer, allowLoopback) || /[?#]/.test(issuer))
    throw new Error(`OIDC_ISSUER must be an https address without login, query or fragment, not "${issuer}"`);
  return {
    issuer,
    audience: required(env, "OIDC_AUDIENCE"),
    claims: {
      tenant: env.OIDC_TENANT_CLAIM || "tenant",
      roles: env.OIDC_ROLES_CLAIM || "roles",
      permissions: env.OIDC_PERMISSIONS_CLAIM || undefined,
    },
    roleNames: named("OIDC_ROLES", () => parseRoleNames(env.OIDC_ROLES ?? "")),
    tokenTypes: named("OIDC_TOKEN_TYPES", () => parseTokenTypes(env.OIDC_TOKEN_TYPES || "at+jwt")),
    timeoutMs: positive(env, "OIDC_TIMEOUT_MS", 3_000),
    keysRefreshMs: positive(env, "OIDC_KEYS_REFRESH_MS", 600_000),
    keysCooldownMs: integer(env, "OIDC_KEYS_COOLDOWN_MS", 30_000),
    allowLoopback,
  };
}

/** Where the control plane's database is; all that migrating needs. */
export function readDatabaseUrl(env: Environment = process.env): string {
  return required(env, "DATABASE_URL");
}

/** Reads `crm=http://host:port[,messaging=…]`; a cell named twice has two partitions. Throws an Error that names the fault. */
export function parseCells(text: string): CellConfig[] {
  const cells = new Map<string, string[]>();
  for (const part of text.split(",")) {
    const [, name, url] = /^\s*([a-z][a-z0-9-]{0,29})=(\S+)\s*$/.exec(part) ?? [];
    if (!name || !url) throw new Error(`"${part}" is not written name=url`);
    const parsed = URL.parse(url);
    if (parsed?.protocol !== "http:" || parsed.pathname !== "/" || parsed.search)
      throw new Error(`"${url}" is not written http://host:port`);
    cells.set(name, [...(cells.get(name) ?? []), parsed.origin]);
  }
  return [...cells].map(([name, urls]) => ({ name, urls }));
}

function required(env: Environment, name: string): string {
  const value = env[name];
  if (!value) throw new Error(`${name} is missing`);
  return value;
}

function integer(env: Environment, name: string, fallback: number, max = 3_600_000): number {
  const text = env[name] ?? String(fallback);
  if (!/^\d+$/.test(text) || Number(text) > max) throw new Error(`${name} must be a whole number from 0 to ${max}, not "${text}"`);
  return Number(text);
}

function positive(env: Environment, name: string, fallback: number): number {
  const value = integer(env, name, fallback);
  if (value === 0) throw new Error(`${name} must be 1 or more`);
  return value;
}

function named<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { message } = error as Error;
    throw new Error(message.startsWith(name) ? message : `${name}: ${message}`, { cause: error });
  }
}

function parseOperatorKey(text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^[\x21-\x7e]{24,}$/.test(text)) throw new Error("24 characters or more, without spaces");
  return text;
}

function parseSwitch(text: string): boolean {
  if (text !== "0" && text !== "1") throw new Error(`1 or 0, not "${text}"`);
  return text === "1";
}

function parseRoleNames(text: string): ReadonlyMap<string, Role> {
  if (text.trim() === "") return ownRoleNames;
  return new Map(
    text.split(",").map((part) => {
      const [, theirs, name] = /^\s*([^=]*[^=\s])\s*=\s*([a-z]+)\s*$/.exec(part) ?? [];
      const ours = roleNames.find((role) => role === name);
      if (!theirs || !ours) throw new Error(`"${part}" is not written theirs=ours, with one of ${roleNames.join(", ")}`);
      return [theirs, ours];
    }),
  );
}

function parseTokenTypes(text: string): readonly string[] {
  const types = text.split(",").map((type) => type.trim().toLowerCase());
  const unknown = types.find((type) => type !== "at+jwt" && type !== "jwt");
  if (unknown !== undefined) throw new Error(`at+jwt, or at+jwt,JWT, not "${unknown}"`);
  return types;
}

function parseKeyEnvironment(text: string): string {
  if (!/^[a-z0-9]{1,12}$/.test(text)) throw new Error("1 to 12 of a-z and 0-9");
  return text;
}

function parseLogLevel(text: string): string {
  const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];
  if (!levels.includes(text)) throw new Error(`one of ${levels.join(", ")}`);
  return text;
}
