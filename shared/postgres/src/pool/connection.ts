import pg from "pg";
import { readDataRows } from "../driver/message-reader.ts";
import { typeParsers } from "../driver/parsing.ts";
import { PreparedStatements, type Query } from "../driver/prepared.ts";
import type { Rows } from "../driver/rows.ts";
import { isDenied, timeoutMessage } from "../problems.ts";

/** A database login: whose name and password a connection is opened with. */
export interface Login {
  user: string;
  password: string;
}

/** As whom a tenant's statements run: over which login, and in which role, which is the login itself where each tenant has its own. */
export interface Access {
  login: Login;
  role: string;
  /** Of 16 bits and the tenant's own: which of a shared login's connections it meets first. */
  slot: number;
}

export interface ConnectionSettings {
  /** Where the database is; user and password in it are replaced by the login's. */
  url: string;
  applicationName: string;
  /** Named statements that one connection keeps. */
  preparedStatements: number;
  /** How long a request may wait for a connection before it is refused. */
  waitMs: number;
  statementTimeoutMs: number;
  lockTimeoutMs: number;
}

/** How long nothing may come of a reader's queries before others avoid it. */
const stalledMs = 20;

/** One connection: in which role it stands, whom it has served, and which statements it keeps. */
export class Connection<Pool> {
  readonly client: pg.Client;
  readonly pool: Pool;
  /** Of the tenant for whom it was opened. */
  readonly slot: number;
  readonly openedAt = performance.now();
  freeSince = performance.now();
  lost = false;
  /** Queries of readers under way. */
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

  /** Opens it. Rejects with the driver's error. */
  async open(): Promise<void> {
    await this.client.connect();
    readDataRows(this.#wire);
  }

  /** How many roles it has served: its backend keeps the catalogue of each one's tables. */
  get served(): number {
    return this.#roles.size;
  }

  /** Queries under way, as a measure of how long one more would wait. */
  get load(): number {
    const stalled = this.pending > 0 && performance.now() - this.#progressAt > stalledMs;
    return stalled ? Number.MAX_SAFE_INTEGER : this.pending;
  }

  /** Sends a query in the role in which the connection stands. */
  async query(query: Query, timeoutMs = this.#timeoutMs): Promise<Rows> {
    try {
      return await this.#statements.admit(query, timeoutMs).run(this.client);
    } catch (error) {
      // Another process may have dropped the role and made another one of the same name.
      if (isDenied(error)) this.#role = undefined;
      throw error;
    }
  }

  /** Sends a query in this role among those of others. */
  async read(role: string, query: Query): Promise<Rows> {
    // Each of those in front may take its whole time before this one's begins.
    const timeoutMs = this.#timeoutMs + this.pending * this.#statementTimeoutMs;
    if (this.pending++ === 0) this.#progressAt = performance.now();
    this.#batchWrites();
    this.#expectProgress();
    try {
      // Where the role is refused, the query behind it finds no rights: the one before has none on this one's tables.
      if (this.#role !== role) this.setRole(role, timeoutMs).catch(() => undefined);
      this.#roles.add(role);
      return await this.query(query, timeoutMs);
    } finally {
      this.pending--;
      this.freeSince = this.#progressAt = performance.now();
    }
  }

  /** Ends the connection when it has been silent for longer than a query may take: that each in front of one may take its time is no reason to wait. */
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

  /** Holds back what is sent until this turn of the event loop ends: the queries of all requests that came in it leave in one write. */
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

  /** Has the role taken anew at its next use. */
  forgetRole(role: string): void {
    if (this.#role === role) this.#role = undefined;
  }

  /** Says good-bye, and hangs up when nobody says it back. */
  async end(): Promise<void> {
    const late = setTimeout(() => this.#wire.stream.destroy(), this.#timeoutMs);
    // A connection that died refuses the good-bye; that it is gone is all that was wanted.
    await this.client.end().catch(() => undefined);
    clearTimeout(late);
  }

  /** Makes the connection this role's. Rejects with the database's error. */
  async setRole(role: string, timeoutMs = this.#timeoutMs): Promise<void> {
    if (this.#role === role) return;
    this.#role = role;
    this.#roles.add(role);
    try {
      // One message instead of five; there is nothing of any caller's in it.
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
    // Every name in a statement says its schema: nothing is to be found by searching for it.
    options: "-c timezone=UTC -c search_path=pg_catalog,pg_temp",
    keepAlive: true,
    pipeline,
  };
  return new pg.Client(options);
}

/** The URL with another user and password; also in the form with the socket's folder as host. */
export function withLogin(url: string, login: Login): string {
  const rest = url.replace(/^([a-z]+:)\/\/(?:[^@/?]*@)?/, "$1//");
  return rest.replace("//", `//${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}@`);
}
