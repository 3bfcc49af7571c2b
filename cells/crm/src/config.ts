import { type FileLimits, fileLimits, parsePublicKeys, parseSealKeys, type SealKeys } from "@cell/cell";
import { type AssertionKeys, type MetricsAccess, type Networks, parseAssertionKeys, parseMetricsAccess, parseNetworks } from "@cell/http";
import type { TenantLogins } from "@cell/postgres";
import { parseWebhookKeys, type WebhookKeys } from "./webhooks/secrets.ts";

export interface Config {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  tenantLoginSecret: string;
  /** Out of SEAL_KEY, an Ed25519 private key in PEM, and SEAL_PUBLIC_KEYS, the public ones of earlier seals. */
  sealKeys: SealKeys;
  /** The file to which each seal is handed; undefined hands it to the log alone. */
  sealLog: string | undefined;
  /** Where the messaging cell is; undefined where there is none. */
  messagingUrl: string | undefined;
  /** The secrets of webhooks follow from them. */
  webhookKeys: WebhookKeys;
  /** How long deliveries of webhooks are kept. */
  webhookLogDays: number;
  /** Networks to which webhooks may lead though they are not public, by plain http too; undefined: none. */
  outboundAllow: Networks | undefined;
  metrics: MetricsAccess;
  logLevel: string;
  connections: { total: number; perTenant: number };
  /** What exports and other files may take. */
  files: FileLimits;
  /** Whether each tenant has a database login of its own, or all of them share one. */
  logins: TenantLogins;
  statementTimeoutMs: number;
  drainDelayMs: number;
  drainTimeoutMs: number;
}

/** The configuration out of the environment. Throws an Error that names the variable at fault. */
export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const required = (name: string): string => {
    const value = env[name];
    if (!value) throw new Error(`${name} is not set`);
    return value;
  };
  const integer = (name: string, fallback: number): number => {
    const value = env[name];
    if (value === undefined || value === "") return fallback;
    if (!/^\d{1,9}$/.test(value)) throw new Error(`${name} must be a whole number`);
    return Number(value);
  };
  const parsed = <T>(name: string, text: string, parse: (text: string) => T): T => {
    try {
      return parse(text);
    } catch (error) {
      throw new Error(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  };
  // A file of settings holds a PEM in one line.
  const lines = (pem: string): string => pem.replaceAll("\\n", "\n");
  const earlierKeys = parsed("SEAL_PUBLIC_KEYS", lines(env.SEAL_PUBLIC_KEYS ?? ""), parsePublicKeys);
  const connections = { total: integer("DATABASE_CONNECTIONS", 120), perTenant: integer("TENANT_CONNECTIONS", 16) };
  const secret = required("TENANT_LOGIN_SECRET");
  if (secret.length < 32) throw new Error("TENANT_LOGIN_SECRET must have 32 characters or more");
  const port = integer("PORT", 8001);
  return {
    host: env.HOST || "127.0.0.1",
    port,
    metrics: parseMetricsAccess(env.METRICS_PORT, env.METRICS_TOKEN, port),
    databaseUrl: required("DATABASE_URL"),
    assertionKeys: parsed("ASSERTION_KEYS", required("ASSERTION_KEYS"), parseAssertionKeys),
    tenantLoginSecret: secret,
    sealKeys: parsed("SEAL_KEY", lines(required("SEAL_KEY")), (pem) => parseSealKeys(pem, earlierKeys)),
    sealLog: env.SEAL_LOG || undefined,
    messagingUrl: env.MESSAGING_URL || undefined,
    webhookKeys: parsed("WEBHOOK_KEYS", required("WEBHOOK_KEYS"), parseWebhookKeys),
    webhookLogDays: integer("WEBHOOK_LOG_DAYS", 30),
    outboundAllow: env.OUTBOUND_ALLOW ? parsed("OUTBOUND_ALLOW", env.OUTBOUND_ALLOW, parseNetworks) : undefined,
    logLevel: env.LOG_LEVEL || "info",
    connections,
    files: {
      ...filesWithin(connections),
      bytesPerSecond: integer("FILE_BYTES_PER_SECOND", fileLimits.bytesPerSecond),
      windowMs: integer("FILE_RATE_WINDOW_MS", fileLimits.windowMs),
    },
    logins: parsed("TENANT_LOGINS", env.TENANT_LOGINS || "own", parseLogins),
    statementTimeoutMs: integer("STATEMENT_TIMEOUT_MS", 3_000),
    drainDelayMs: integer("DRAIN_DELAY_MS", 0),
    drainTimeoutMs: integer("DRAIN_TIMEOUT_MS", 25_000),
  };
}

/** How many files may be on their way so that connections are left for other requests: of a tenant, and of all. */
export function filesWithin({ total, perTenant }: Config["connections"]): Pick<FileLimits, "perTenant" | "inAll"> {
  return {
    perTenant: Math.max(1, Math.min(fileLimits.perTenant, Math.floor(perTenant / 3))),
    inAll: Math.max(1, Math.floor(total / 2)),
  };
}

/** The mode of logins in which the tests run that name none: TENANT_LOGINS=shared takes the whole suite through the other one. */
export function testLogins(env: NodeJS.ProcessEnv = process.env): TenantLogins {
  return parseLogins(env.TENANT_LOGINS || "own");
}

function parseLogins(text: string): TenantLogins {
  if (text !== "own" && text !== "shared") throw new Error("must be own or shared");
  return text;
}
