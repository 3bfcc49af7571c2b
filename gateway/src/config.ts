import { type AssertionKeys, parseAssertionKeys } from "@cell/http";

export interface Timeouts {
  /** To open a connection to a cell. */
  connectMs: number;
  /** Until a cell's answer begins. */
  headersMs: number;
  /** The same for imports and exports. */
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

/** A cell and where its partitions are, in the order in which they are named `<cell>-1`, `<cell>-2`, … */
export interface CellConfig {
  name: string;
  urls: string[];
}

export interface Config {
  host: string;
  port: number;
  databaseUrl: string;
  assertionKeys: AssertionKeys;
  /** The platform operator's bearer key; without one there is no operator. */
  operatorKey: string | undefined;
  cells: CellConfig[];
  /** The middle part of the keys that are issued here: `crm_<keyEnvironment>_…`. */
  keyEnvironment: string;
  logLevel: string;
  timeouts: Timeouts;
}

type Environment = Record<string, string | undefined>;

/** The gateway's settings. Throws an Error that names the variable at fault. */
export function readConfig(env: Environment = process.env): Config {
  return {
    host: env.HOST ?? "127.0.0.1",
    port: integer(env, "PORT", 8080, 65_535),
    databaseUrl: required(env, "DATABASE_URL"),
    assertionKeys: named("ASSERTION_KEYS", () => parseAssertionKeys(required(env, "ASSERTION_KEYS"))),
    operatorKey: named("OPERATOR_KEY", () => parseOperatorKey(env.OPERATOR_KEY)),
    cells: named("CELLS", () => parseCells(required(env, "CELLS"))),
    keyEnvironment: named("KEY_ENVIRONMENT", () => parseKeyEnvironment(env.KEY_ENVIRONMENT ?? "live")),
    logLevel: named("LOG_LEVEL", () => parseLogLevel(env.LOG_LEVEL ?? "info")),
    timeouts: {
      connectMs: integer(env, "CONNECT_TIMEOUT_MS", 250),
      headersMs: integer(env, "HEADERS_TIMEOUT_MS", 10_000),
      slowHeadersMs: integer(env, "SLOW_HEADERS_TIMEOUT_MS", 120_000),
      bodyIdleMs: integer(env, "BODY_IDLE_TIMEOUT_MS", 60_000),
      requestMs: integer(env, "REQUEST_TIMEOUT_MS", 120_000),
      drainDelayMs: integer(env, "DRAIN_DELAY_MS", 0),
      drainMs: integer(env, "DRAIN_TIMEOUT_MS", 10_000),
    },
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

function parseKeyEnvironment(text: string): string {
  if (!/^[a-z0-9]{1,12}$/.test(text)) throw new Error("1 to 12 of a-z and 0-9");
  return text;
}

function parseLogLevel(text: string): string {
  const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];
  if (!levels.includes(text)) throw new Error(`one of ${levels.join(", ")}`);
  return text;
}
