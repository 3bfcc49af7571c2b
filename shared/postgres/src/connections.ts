import { unavailable } from "@cell/problem";
import pg from "pg";
import { typeParsers } from "./parsing.ts";
import { isConnectionLoss } from "./problems.ts";

/** A database login: whose name and password a connection is opened with. */
export interface Login {
  user: string;
  password: string;
}

export interface ConnectionOptions {
  /** Where the database is; user and password in it are replaced by the login's. */
  url: string;
  applicationName: string;
  /** Open connections in all, over all logins. */
  total: number;
  /** Open connections of one login. */
  perLogin: number;
  /** Of these, how many may carry reads of many requests at once. */
  readersPerLogin: number;
  /** How long a request may wait for a connection before it is refused. */
  waitMs: number;
  /** Connections unused for this long are closed. */
  idleMs: number;
  /** Connections older than this are closed when free: a backend never forgets the catalogue of a table that it touched. */
  maxAgeMs: number;
  statementTimeoutMs: number;
  lockTimeoutMs: number;
}

/** A connection lent out. */
export interface Lease {
  readonly client: pg.Client;
  /** Gives it back; `error` is what its use ended in, if it failed. */
  release(error?: unknown): void;
}

interface Connection {
  readonly client: pg.Client;
  readonly lane: Lane;
  readonly openedAt: number;
  freeSince: number;
  /** Queries under way; for readers only. */
  pending: number;
  lost: boolean;
}

/** The connections of one login. */
interface Lane {
  readonly login: Login;
  readonly readers: Connection[];
  readonly free: Connection[];
  open: number;
}

interface Waiter {
  lane: Lane;
  resolve(connection: Connection): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

/** A reader with this many queries under way gets a companion, if the login may have one. */
const busyReader = 8;

/**
 * Connections by login, all under one limit: a login is opened when it is used and closed when it is idle, so that many tenants can have
 * one each. Reads share pipelined connections; whoever writes has one for itself.
 */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #waiting: Waiter[] = [];
  readonly #sweeper: NodeJS.Timeout;
  #open = 0;
  #closing = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(options.idleMs, 5_000));
    this.#sweeper.unref();
  }

  /** How long a query may be without an answer: past the server's own timeout, the connection hangs and is given up. */
  get queryTimeoutMs(): number {
    return this.#options.statementTimeoutMs + 1_000;
  }

  /** Connections open now. */
  get open(): number {
    return this.#open;
  }

  /** Runs one statement on a connection shared with other reads. Rejects with the database's error, or UNAVAILABLE. */
  async read(login: Login, query: pg.QueryArrayConfig): Promise<pg.QueryArrayResult> {
    const reader = await this.#reader(this.#lane(login));
    reader.pending++;
    try {
      return await reader.client.query(query);
    } catch (error) {
      if (isConnectionLoss(error)) this.#drop(reader);
      throw error;
    } finally {
      reader.pending--;
      reader.freeSince = Date.now();
    }
  }

  /** A connection for the caller alone, until `release`; one left inside a transaction or broken is closed instead of reused. */
  async acquire(login: Login): Promise<Lease> {
    const lane = this.#lane(login);
    const connection = lane.free.pop() ?? (await this.#obtain(lane, false));
    const { client } = connection;
    let released = false;
    return {
      client,
      release: (error) => {
        if (released) return;
        released = true;
        // "I": the backend stands outside of any transaction, so the next one starts afresh.
        if (client.getTransactionStatus() === "I" && !(error && isConnectionLoss(error))) this.#giveBack(connection);
        else void this.#drop(connection);
      },
    };
  }

  /** Closes the login's free connections, for one that is to be dropped or whose password changed. */
  closeLogin(login: Login): void {
    const lane = this.#lanes.get(login.user);
    if (!lane) return;
    this.#lanes.delete(login.user);
    for (const connection of [...lane.free, ...lane.readers]) this.#drop(connection);
  }

  /** Closes everything; connections lent out are closed when they come back. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#sweeper);
    for (const waiter of this.#waiting.splice(0)) this.#refuse(waiter);
    const all = [...this.#lanes.values()].flatMap((lane) => [...lane.free, ...lane.readers]);
    await Promise.all(all.map((connection) => this.#drop(connection)));
  }

  #lane(login: Login): Lane {
    let lane = this.#lanes.get(login.user);
    if (!lane) {
      lane = { login, readers: [], free: [], open: 0 };
      this.#lanes.set(login.user, lane);
    }
    return lane;
  }

  async #reader(lane: Lane): Promise<Connection> {
    let best: Connection | undefined;
    for (const reader of lane.readers) if (!best || reader.pending < best.pending) best = reader;
    if (best && (best.pending < busyReader || lane.readers.length >= this.#options.readersPerLogin || !this.#mayOpen(lane))) return best;
    return this.#obtain(lane, true);
  }

  #mayOpen(lane: Lane): boolean {
    return !this.#closing && lane.open < this.#options.perLogin && (this.#open < this.#options.total || this.#evictIdle());
  }

  async #obtain(lane: Lane, pipeline: boolean): Promise<Connection> {
    if (this.#mayOpen(lane)) return this.#connect(lane, pipeline);
    const connection = await new Promise<Connection>((resolve, reject) => {
      const waiter: Waiter = { lane, resolve, reject, timer: setTimeout(() => this.#refuse(waiter), this.#options.waitMs) };
      this.#waiting.push(waiter);
    });
    if (!pipeline) return connection;
    // A free writer came; what is needed is a reader in its place.
    await this.#drop(connection);
    return this.#connect(lane, true);
  }

  #refuse(waiter: Waiter): void {
    const index = this.#waiting.indexOf(waiter);
    if (index >= 0) this.#waiting.splice(index, 1);
    clearTimeout(waiter.timer);
    waiter.reject(unavailable("All database connections are in use; try again"));
  }

  async #connect(lane: Lane, pipeline: boolean): Promise<Connection> {
    this.#open++;
    lane.open++;
    const client = this.#client(lane.login, pipeline);
    const connection: Connection = { client, lane, openedAt: Date.now(), freeSince: Date.now(), pending: 0, lost: false };
    // Listening from the first moment: a backend that ends between two queries would otherwise end this process.
    client.on("error", () => this.#drop(connection));
    if (pipeline) lane.readers.push(connection);
    try {
      await client.connect();
    } catch (error) {
      void this.#drop(connection);
      throw error;
    }
    return connection;
  }

  #client(login: Login, pipeline: boolean): pg.Client {
    const { url, applicationName, waitMs, statementTimeoutMs, lockTimeoutMs } = this.#options;
    const options: pg.ClientConfig & { pipeline: boolean } = {
      connectionString: withLogin(url, login),
      application_name: applicationName,
      types: typeParsers,
      connectionTimeoutMillis: waitMs * 2,
      statement_timeout: statementTimeoutMs,
      lock_timeout: lockTimeoutMs,
      idle_in_transaction_session_timeout: 5_000,
      options: "-c timezone=UTC",
      keepAlive: true,
      pipeline,
    };
    return new pg.Client(options);
  }

  #giveBack(connection: Connection): void {
    connection.freeSince = Date.now();
    if (connection.lost || this.#closing || this.#lanes.get(connection.lane.login.user) !== connection.lane || this.#tooOld(connection)) {
      void this.#drop(connection);
      return;
    }
    const index = this.#waiting.findIndex((waiter) => waiter.lane === connection.lane);
    const [waiter] = index >= 0 ? this.#waiting.splice(index, 1) : [];
    if (waiter) {
      clearTimeout(waiter.timer);
      waiter.resolve(connection);
      return;
    }
    connection.lane.free.push(connection);
    this.#serveWaiting();
  }

  /** Ends a connection and opens one for whoever waits for the place. */
  async #drop(connection: Connection): Promise<void> {
    if (connection.lost) return;
    connection.lost = true;
    const { lane, client } = connection;
    remove(lane.readers, connection);
    remove(lane.free, connection);
    lane.open--;
    this.#open--;
    this.#serveWaiting();
    // A connection that died refuses the good-bye; that it is gone is all that was wanted.
    await client.end().catch(() => undefined);
  }

  #serveWaiting(): void {
    for (const waiter of [...this.#waiting]) {
      const free = waiter.lane.free.pop();
      if (!free && !this.#mayOpen(waiter.lane)) continue;
      remove(this.#waiting, waiter);
      clearTimeout(waiter.timer);
      if (free) waiter.resolve(free);
      else this.#connect(waiter.lane, false).then(waiter.resolve, waiter.reject);
    }
  }

  /** Closes the connection that has been free the longest, of any login. True when there was one. */
  #evictIdle(): boolean {
    let oldest: Connection | undefined;
    for (const lane of this.#lanes.values()) {
      for (const connection of [...lane.free, ...lane.readers]) {
        if (connection.pending === 0 && (!oldest || connection.freeSince < oldest.freeSince)) oldest = connection;
      }
    }
    if (!oldest || Date.now() - oldest.freeSince < 50) return false;
    void this.#drop(oldest);
    return true;
  }

  #tooOld(connection: Connection): boolean {
    return Date.now() - connection.openedAt > this.#options.maxAgeMs;
  }

  #sweep(): void {
    const now = Date.now();
    for (const [user, lane] of this.#lanes) {
      for (const connection of [...lane.free, ...lane.readers]) {
        if (connection.pending === 0 && (now - connection.freeSince > this.#options.idleMs || this.#tooOld(connection)))
          void this.#drop(connection);
      }
      if (lane.open === 0) this.#lanes.delete(user);
    }
  }
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}

/** The URL with another user and password; also in the form with the socket's folder as host. */
export function withLogin(url: string, login: Login): string {
  const rest = url.replace(/^([a-z]+:)\/\/(?:[^@/?]*@)?/, "$1//");
  return rest.replace("//", `//${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}@`);
}
