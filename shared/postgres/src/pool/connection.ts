import pg from "pg";
import { readDataRows } from "../driver/message-reader.ts";
import { typeParsers } from "../driver/parsing.ts";
import { PreparedStatements } from "../driver/prepared.ts";
import type { Query } from "../driver/query.ts";
import type { Rows } from "../driver/rows.ts";
import { isDenied, timeoutMessage } from "../problems.ts";

/** User name and password of a database login. */
export interface Login {
  user: string;
  password: string;
}

/** The login that a tenant's statements use, and the role they run in: the login itself if each tenant has its own. */
export interface Access {
  login: Login;
  role: string;
  /** A 16-bit hash of the tenant: it spreads tenants over a shared login's connections. */
  slot: number;
}

export interface ConnectionSettings {
  /** The database; the login replaces user and password in it. */
  url: string;
  applicationName: string;
  /** Maximum of named statements per connection. */
  preparedStatements: number;
  /** How long a request may wait for a connection before it fails. */
  waitMs: number;
  statementTimeoutMs: number;
  lockTimeoutMs: number;
}

/** Time without progress after which a reader counts as stalled and others avoid it. */
const stalledMs = 20;

/** One connection: its current role, the tenants it has served, and its prepared statements. */
export class Connection<Pool> {
  readonly client: pg.Client;
  readonly pool: Pool;
  /** Slot of the tenant for which it was opened. */
  readonly slot: number;
  readonly openedAt = performance.now();
  freeSince = performance.now();
  lost = false;
  /** Number of read queries in flight. */
  pending = 0;
  #progressAt = 0;
  #watch: NodeJS.Timeout | undefined;
  #batching = false;
  readonly #statements: PreparedStatements;
  readonly #statementTimeoutMs: number;
  readonly #timeoutMs: number;
  readonly #roles = new Set<string>();
  #role: string | undefined;

  constructor(pool: Pool, opened: { login: Login; slot: number; pipeline: boolean }, settings: ConnectionSettings) {
    const { login, slot, pipeline } = opened;
    this.client = openClient(login, pipeline, settings);
    this.pool = pool;
    this.slot = slot;
    this.#role = login.user;
    this.#statementTimeoutMs = settings.statementTimeoutMs;
    this.#timeoutMs = settings.statementTimeoutMs + 1_000;
    this.#statements = new PreparedStatements(this.client, settings.preparedStatements);
  }

  /** Opens the connection. Rejects with the driver's error. */
  async open(): Promise<void> {
    await this.client.connect();
    readDataRows(this.#wire);
  }

  /** Number of roles it has served: its backend keeps the catalogue entries of each one's tables. */
  get served(): number {
    return this.#roles.size;
  }

  /** Queries in flight, an estimate of the wait of a further one. */
  get load(): number {
    const stalled = this.pending > 0 && performance.now() - this.#progressAt > stalledMs;
    return stalled ? Number.MAX_SAFE_INTEGER : this.pending;
  }

  /** Sends a query in the connection's current role. */
  async query(query: Query, timeoutMs = this.#timeoutMs): Promise<Rows> {
    try {
      return await this.#statements.admit(query, timeoutMs).run(this.client);
    } catch (error) {
      // Another process may have dropped the role and created another one of the same name.
      if (isDenied(error)) this.#role = undefined;
      throw error;
    }
  }

  /** Sends a query in this role, pipelined with those of others. */
  async read(role: string, query: Query): Promise<Rows> {
    // Each query ahead may take its whole timeout before this one begins.
    const timeoutMs = this.#timeoutMs + this.pending * this.#statementTimeoutMs;
    if (this.pending++ === 0) this.#progressAt = performance.now();
    this.#batchWrites();
    this.#expectProgress();
    try {
      // If SET ROLE fails, the query after it fails too: the previous role has no rights on these tables.
      if (this.#role !== role) this.setRole(role, timeoutMs).catch(() => undefined);
      this.#roles.add(role);
      return await this.query(query, timeoutMs);
    } finally {
      this.pending--;
      this.freeSince = this.#progressAt = performance.now();
    }
  }

  /** Ends the connection if it is silent for longer than one query may take, however many are ahead. */
  #expectProgress(): void {
    if (this.#watch || this.pending === 0) return;
    const leftMs = this.#progressAt + this.#timeoutMs - performance.now();
    if (leftMs <= 0) {
      this.#wire.stream.destroy(new Error(timeoutMessage));
      return;
    }
    this.#watch = setTimeout(() => {
      this.#watch = undefined;
      this.#expectProgress();
    }, leftMs);
    this.#watch.unref();
  }

  /** Holds writes back until the end of this event loop turn: the queries of all requests in it leave in one write. */
  #batchWrites(): void {
    if (this.#batching) return;
    this.#batching = true;
    const { stream } = this.#wire;
    stream.cork();
    setImmediate(() => {
      this.#batching = false;
      stream.uncork();
    });
  }

  get #wire(): pg.Connection {
    return (this.client as pg.Client & { connection: pg.Connection }).connection;
  }

  /** Makes the next use of the role set it again. */
  forgetRole(role: string): void {
    if (this.#role === role) this.#role = undefined;
  }

  /** Closes the connection properly, and destroys it if the server does not respond. */
  async end(): Promise<void> {
    const late = setTimeout(() => this.#wire.stream.destroy(), this.#timeoutMs);
    // A dead connection cannot be closed properly; it is gone, which is the aim.
    await this.client.end().catch(() => undefined);
    clearTimeout(late);
  }

  /** Sets the connection's role. Rejects with the database's error. */
  async setRole(role: string, timeoutMs = this.#timeoutMs): Promise<void> {
    if (this.#role === role) return;
    this.#role = role;
    this.#roles.add(role);
    try {
      // The simple protocol needs one message instead of five; the text has nothing from a caller.
      const query = { text: `set role "${role}"`, query_timeout: timeoutMs };
      await this.client.query(query);
    } catch (error) {
      this.#role = undefined;
      throw error;
    }
  }
}

function openClient(login: Login, pipeline: boolean, settings: ConnectionSettings): pg.Client {
  const { url, applicationName, waitMs, statementTimeoutMs, lockTimeoutMs } = settings;
  const options: pg.ClientConfig & { pipeline: boolean } = {
    connectionString: withLogin(url, login),
    application_name: applicationName,
    types: typeParsers,
    connectionTimeoutMillis: waitMs * 2,
    statement_timeout: statementTimeoutMs,
    lock_timeout: lockTimeoutMs,
    idle_in_transaction_session_timeout: 5_000,
    // Every name in a statement is qualified by its schema: the search path must find nothing.
    options: "-c timezone=UTC -c search_path=pg_catalog,pg_temp",
    keepAlive: true,
    pipeline,
  };
  return new pg.Client(options);
}

/** The URL with another user and password; also handles the form with a socket folder as host. */
export function withLogin(url: string, login: Login): string {
  const rest = url.replace(/^([a-z]+:)\/\/(?:[^@/?]*@)?/, "$1//");
  return rest.replace("//", `//${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}@`);
}
