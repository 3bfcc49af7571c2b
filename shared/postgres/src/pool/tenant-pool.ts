import { Problem } from "@cell/problem";
import type pg from "pg";
import type { Query } from "../driver/prepared.ts";
import type { Rows } from "../driver/rows.ts";
import { isConnectionLoss, isTimeout } from "../problems.ts";
import { type Access, Connection, type ConnectionSettings, type Login } from "./connection.ts";
import { KeyedSemaphore } from "./semaphore.ts";
import { FairWaitQueue } from "./wait-queue.ts";

export interface ConnectionOptions extends ConnectionSettings {
  /** Open connections in all, over all logins. */
  total: number;
  /** Open connections of one tenant. */
  perTenant: number;
  /** Of these, how many may carry reads of many requests at once. */
  readersPerTenant: number;
  /** Connections that carry reads, on a login that tenants share; each tenant uses `readersPerTenant` of them. */
  sharedReaders: number;
  /** Connections unused for this long are closed. */
  idleMs: number;
  /** Connections older than this are closed: a backend never forgets the catalogue of a table that it touched. */
  maxAgeMs: number;
  /** Connections that have served more tenants than this are closed, for the same reason. */
  tenantsPerConnection: number;
}

/** A connection lent out. */
export interface Lease {
  /** For protocols of their own such as COPY. */
  readonly client: pg.Client;
  query(query: Query): Promise<Rows>;
  /** Gives it back; `error` is what its use ended in, if it failed. */
  release(error?: unknown): void;
}

/** The connections of one login. */
interface LoginPool {
  readonly login: Login;
  readonly limit: number;
  /** By slot, so that a tenant meets the same ones again. */
  readonly readers: (PooledConnection | undefined)[];
  readonly free: PooledConnection[];
  /** Connections lent out and not for reading alone, by role. */
  readonly leased: Map<string, number>;
  open: number;
}
type PooledConnection = Connection<LoginPool>;

/** A reader with this many queries under way gets a companion, if the tenant may have one. */
const busyReader = 8;
/** Long statements of one tenant at once; fewer where a quarter of its connections is fewer. */
const longAtMost = 3;
/** A long statement waits this long for others of its tenant. */
const longWaitMs = 2_000;
/** A connection that was used within this time stays with its login. */
const cooldownMs = 50;

/**
 * Connections by login, all under one limit: a login is opened when it is used and closed when it is idle, so that many tenants can have
 * one each, or share one. Reads share pipelined connections; whoever writes has one for itself.
 */
export class TenantPool {
  readonly #options: ConnectionOptions;
  readonly #pools = new Map<string, LoginPool>();
  readonly #waiting: FairWaitQueue<LoginPool, PooledConnection>;
  readonly #long: KeyedSemaphore;
  readonly #sweeper: NodeJS.Timeout;
  #cooldowns: NodeJS.Timeout | undefined;
  #open = 0;
  #closing = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#waiting = new FairWaitQueue(options.waitMs);
    this.#long = new KeyedSemaphore(Math.max(1, Math.min(longAtMost, Math.floor(options.perTenant / 4))));
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
  async read(access: Access, query: Query): Promise<Rows> {
    let reader = await this.#reader(access);
    // It may have been given up since it was chosen, with nothing sent yet.
    while (reader.lost) reader = await this.#reader(access);
    try {
      return await reader.read(access.role, query);
    } catch (error) {
      if (isConnectionLoss(error)) this.#lost(reader, error);
      throw error;
    } finally {
      if (this.#isSpent(reader)) void this.#drop(reader);
    }
  }

  /**
   * Runs one statement that may take long, so that no other read waits behind it. Rejects with the database's error, UNAVAILABLE, or
   * RATE_LIMITED when too many of the tenant's run already.
   */
  async readLong(access: Access, query: Query): Promise<Rows> {
    const permit = await this.#long.acquire(access.role, longWaitMs);
    if (!permit) {
      throw new Problem("RATE_LIMITED", `This tenant has ${this.#long.limit} long queries running already; try again`, {
        headers: { "retry-after": "2" },
      });
    }
    try {
      const { query: send, release } = await this.acquire(access);
      try {
        const rows = await send(query);
        release();
        return rows;
      } catch (error) {
        release(error);
        throw error;
      }
    } finally {
      permit();
    }
  }

  /** A connection for the caller alone, until `release`; one left inside a transaction or broken is closed instead of reused. */
  async acquire(access: Access): Promise<Lease> {
    const { login, role } = access;
    const pool = this.#poolOf(login, role);
    const connection = await this.#obtain(pool, access);
    const { client } = connection;
    let released = false;
    const release = (error?: unknown) => {
      if (released) return;
      released = true;
      count(pool.leased, role, -1);
      // "I": the backend stands outside of any transaction, so the next one starts afresh.
      if (client.getTransactionStatus() === "I" && !(error && isConnectionLoss(error))) this.#release(connection);
      else this.#lost(connection, error);
    };
    try {
      await connection.setRole(role);
    } catch (error) {
      release(error);
      throw error;
    }
    return { client, query: (query) => connection.query(query), release };
  }

  /** Closes the login's free connections, for one that is to be dropped or whose password changed. */
  closeLogin(user: string): void {
    const pool = this.#pools.get(user);
    if (!pool) return;
    this.#pools.delete(user);
    for (const connection of connectionsOf(pool)) void this.#drop(connection);
  }

  /** Has a shared login take a role anew, for one that is to be dropped: another may come under its name. */
  forgetRole(role: string): void {
    for (const pool of this.#pools.values()) for (const connection of connectionsOf(pool)) connection.forgetRole(role);
  }

  /** Closes everything; connections lent out are closed when they come back. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#sweeper);
    clearInterval(this.#cooldowns);
    this.#waiting.refuseAll();
    const all = [...this.#pools.values()].flatMap(connectionsOf);
    await Promise.all(all.map((connection) => this.#drop(connection)));
  }

  #poolOf(login: Login, role: string): LoginPool {
    let pool = this.#pools.get(login.user);
    if (!pool) {
      const { total, perTenant, readersPerTenant, sharedReaders } = this.#options;
      const isShared = login.user !== role;
      const readers = new Array<undefined>(isShared ? Math.max(sharedReaders, readersPerTenant) : readersPerTenant).fill(undefined);
      pool = { login, limit: isShared ? total : perTenant, readers, free: [], leased: new Map(), open: 0 };
      this.#pools.set(login.user, pool);
    }
    return pool;
  }

  async #reader({ login, role, slot: first }: Access): Promise<PooledConnection> {
    const pool = this.#poolOf(login, role);
    // On a shared login a tenant stays with a reader as long as it can: every backend keeps what it knows of every tenant that it meets.
    const few = pool.readers.length > this.#options.readersPerTenant ? busyReader / 2 : 0;
    let best: PooledConnection | undefined;
    let vacant: number | undefined;
    for (let step = 0; step < this.#options.readersPerTenant; step++) {
      const slot = (first + step) % pool.readers.length;
      const reader = pool.readers[slot];
      if (!reader) vacant ??= slot;
      else if (!best || Math.max(reader.load, few) < Math.max(best.load, few)) best = reader;
    }
    if (best && (vacant === undefined || best.load < busyReader || !this.#mayOpen(pool))) return best;
    const slot = vacant ?? first % pool.readers.length;
    if (this.#mayOpen(pool)) return this.#connect(pool, slot, first);
    // A free connection is one for writing; what is needed is a reader in its place, begun first so that nobody else takes it.
    const connection = pool.free[0] ?? (await this.#wait(pool, undefined));
    const made = pool.readers[slot];
    if (made) {
      // Another one that waited has made it meanwhile.
      this.#release(connection);
      return made;
    }
    const reader = this.#connect(pool, slot, first);
    void this.#drop(connection);
    return reader;
  }

  /** Waits for a place; one that only needs to rest before it may be taken tells nobody when it has. */
  #wait(pool: LoginPool, access: Access | undefined): Promise<PooledConnection> {
    this.#cooldowns ??= setInterval(() => {
      this.#serveWaiting();
      if (!this.#waiting.isEmpty) return;
      clearInterval(this.#cooldowns);
      this.#cooldowns = undefined;
    }, cooldownMs);
    return this.#waiting.wait(pool, access);
  }

  #mayOpen(pool: LoginPool): boolean {
    return !this.#closing && pool.open < pool.limit && (this.#open < this.#options.total || this.#evictIdle());
  }

  async #obtain(pool: LoginPool, access: Access): Promise<PooledConnection> {
    const place = this.#held(pool, access) === undefined ? undefined : this.#place(pool, access);
    return place ?? this.#wait(pool, access);
  }

  /** How many connections a tenant holds; undefined when it may have no more. */
  #held(pool: LoginPool, access: Access | undefined): number | undefined {
    const held = access === undefined ? 0 : (pool.leased.get(access.role) ?? 0);
    return held < this.#options.perTenant ? held : undefined;
  }

  /** A connection for a tenant, or for a reader: a free one or a new one; undefined when there is none. */
  #place(pool: LoginPool, access: Access | undefined): PooledConnection | Promise<PooledConnection> | undefined {
    const found = nearest(pool.free, access?.slot ?? 0);
    if (!found && !this.#mayOpen(pool)) return undefined;
    if (access) count(pool.leased, access.role, 1);
    if (found) {
      remove(pool.free, found);
      return found;
    }
    return this.#connect(pool, undefined, access?.slot ?? 0).catch((error: unknown) => {
      if (access) count(pool.leased, access.role, -1);
      throw error;
    });
  }

  /** Opens a connection: a reader for a slot, or one to be lent. */
  async #connect(pool: LoginPool, slot: number | undefined, near: number): Promise<PooledConnection> {
    this.#open++;
    pool.open++;
    const connection: PooledConnection = new Connection(
      pool,
      { login: pool.login, slot: near, pipeline: slot !== undefined },
      this.#options,
    );
    // Listening from the first moment: a backend that ends between two queries would otherwise end this process.
    connection.client.on("error", () => this.#drop(connection));
    if (slot !== undefined) pool.readers[slot] = connection;
    try {
      await connection.open();
    } catch (error) {
      void this.#drop(connection);
      throw error;
    }
    return connection;
  }

  #release(connection: PooledConnection): void {
    const { pool } = connection;
    connection.freeSince = performance.now();
    if (connection.lost || this.#closing || this.#pools.get(pool.login.user) !== pool || this.#isSpent(connection)) {
      void this.#drop(connection);
      return;
    }
    pool.free.push(connection);
    this.#serveWaiting();
  }

  /** Ends a connection and opens one for whoever waits for the place; a reader first answers what is under way. */
  async #drop(connection: PooledConnection): Promise<void> {
    if (connection.lost) return;
    connection.lost = true;
    const { pool } = connection;
    const slot = pool.readers.indexOf(connection);
    if (slot >= 0) pool.readers[slot] = undefined;
    remove(pool.free, connection);
    pool.open--;
    this.#open--;
    this.#serveWaiting();
    await connection.end();
  }

  /** Drops a connection; when it hung, so may those that nobody has used since: each would cost a request its time to find out. */
  #lost(connection: PooledConnection, error: unknown): void {
    void this.#drop(connection);
    if (!isTimeout(error)) return;
    const before = performance.now() - this.queryTimeoutMs;
    for (const other of [...this.#pools.values()].flatMap(connectionsOf)) {
      if (other.pending === 0 && other.freeSince <= before) void this.#drop(other);
    }
  }

  #serveWaiting(): void {
    if (this.#waiting.isEmpty) return;
    this.#waiting.serve(
      (pool, access) => this.#held(pool, access),
      (pool, access) => this.#place(pool, access),
    );
  }

  /** Closes the connection that has been free the longest, of any login. True when there was one. */
  #evictIdle(): boolean {
    let oldest: PooledConnection | undefined;
    for (const pool of this.#pools.values()) {
      for (const connection of connectionsOf(pool)) {
        if (connection.pending === 0 && (!oldest || connection.freeSince < oldest.freeSince)) oldest = connection;
      }
    }
    if (!oldest || performance.now() - oldest.freeSince < cooldownMs) return false;
    void this.#drop(oldest);
    return true;
  }

  /** Whether a backend has lived long enough or knows enough tenants. */
  #isSpent({ openedAt, served }: PooledConnection): boolean {
    return served > this.#options.tenantsPerConnection || performance.now() - openedAt > this.#options.maxAgeMs;
  }

  #sweep(): void {
    const now = performance.now();
    for (const [user, pool] of this.#pools) {
      for (const connection of connectionsOf(pool)) {
        const isIdle = connection.pending === 0 && now - connection.freeSince > this.#options.idleMs;
        if (isIdle || this.#isSpent(connection)) void this.#drop(connection);
      }
      if (pool.open === 0) this.#pools.delete(user);
    }
  }
}

/** The connections of a lane that are not lent out. */
function connectionsOf(pool: LoginPool): PooledConnection[] {
  return [...pool.free, ...pool.readers.filter((reader) => reader !== undefined)];
}

/** The connection that was opened for the tenant, or for the one next to it: so each backend meets few tenants. Among equals the one used last. */
function nearest(connections: readonly PooledConnection[], slot: number): PooledConnection | undefined {
  let found: PooledConnection | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const connection of connections) {
    const distance = (connection.slot - slot) & 0xffff;
    if (distance <= least) [found, least] = [connection, distance];
  }
  return found;
}

function count(counts: Map<string, number>, key: string, by: number): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum > 0) counts.set(key, sum);
  else counts.delete(key);
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
