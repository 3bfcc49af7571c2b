import { type AssertionKeys, parseAssertionKeys } from "@cell/http";

export interface Config {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  tenantLoginSecret: string;
  /** Ed25519 private key in PEM. */
  sealKey: string;
  /** The file to which each seal is handed; undefined hands it to the log alone. */
  sealLog: string | undefined;
  logLevel: string;
  connections: { total: number; perLogin: number };
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
  const assertionKeys = (): AssertionKeys => {
    try {
      return parseAssertionKeys(required("ASSERTION_KEYS"));
    } catch (error) {
      throw new Error(`ASSERTION_KEYS: ${error instanceof Error ? error.message : error}`);
    }
  };
  const secret = required("TENANT_LOGIN_SECRET");
  if (secret.length < 32) throw new Error("TENANT_LOGIN_SECRET must have 32 characters or more");
  return {
    host: env.HOST || "127.0.0.1",
    port: integer("PORT", 8001),
    databaseUrl: required("DATABASE_URL"),
    assertionKeys: assertionKeys(),
    tenantLoginSecret: secret,
    sealKey: required("SEAL_KEY").replaceAll("\\n", "\n"),
    sealLog: env.SEAL_LOG || undefined,
    logLevel: env.LOG_LEVEL || "info",
    connections: { total: integer("DATABASE_CONNECTIONS", 80), perLogin: integer("TENANT_CONNECTIONS", 16) },
    statementTimeoutMs: integer("STATEMENT_TIMEOUT_MS", 3_000),
    drainDelayMs: integer("DRAIN_DELAY_MS", 0),
    drainTimeoutMs: integer("DRAIN_TIMEOUT_MS", 25_000),
  };
}
