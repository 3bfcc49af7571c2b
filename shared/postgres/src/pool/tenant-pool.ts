import { Problem } from "@cell/problem";
import type pg from "pg";
import type { Query } from "../driver/query.ts";
import type { Rows } from "../driver/rows.ts";
import { isConnectionLoss, isTimeout } from "../problems.ts";
import { type Access, Connection, type ConnectionSettings, type Login } from "./connection.ts";
import { countLease, leasedBy, nearest } from "./leases.ts";
import { connectionsOf, type LoginPool, type PooledConnection } from "./login-pool.ts";
import { busyReader, chooseReader } from "./readers.ts";
import { KeyedSemaphore } from "./semaphore.ts";
import { FairWaitQueue } from "./wait-queue.ts";

export interface ConnectionOptions extends ConnectionSettings {
  /** Maximum of open connections, over all logins. */
  total: number;
  /** Maximum of open connections of one tenant. */
  perTenant: number;
  /** Of these, how many may be readers, which pipeline the reads of many requests. */
  readersPerTenant: number;
  /** Readers of a login that tenants share; each tenant uses `readersPerTenant` of them. */
  sharedReaders: number;
  /** Idle time after which connections are closed. */
  idleMs: number;
  /** Age after which connections are closed: a backend never frees the catalogue entries of a table that it touched. */
  maxAgeMs: number;
  /** Number of tenants after which connections are closed, for the same reason. */
  tenantsPerConnection: number;
}

/** A connection in exclusive use. */
export interface Lease {
  /** For protocols of their own, such as COPY. */
  readonly client: pg.Client;
  query(query: Query): Promise<Rows>;
  /** Returns the connection to the pool; `error`: how its use failed, if it did. */
  release(error?: unknown): void;
}

/** Maximum of concurrent long statements of one tenant, and at most a quarter of its connections. */
const longAtMost = 3;
/** How long a long statement waits for others of its tenant. */
const longWaitMs = 2_000;
/** A connection used within this time stays with its login. */
const cooldownMs = 50;

/**
 * Connections by login, under one common limit. A login's connections open when it is used and close when it is idle, so that many tenants
 * can have a login each, or share one. Reads are pipelined on shared connections; writes have a connection of their own.
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

  /** Client-side time limit of a query: past the server's own timeout, the connection hangs and is dropped. */
  get queryTimeoutMs(): number {
    return this.#options.statementTimeoutMs + 1_000;
  }

  /** Number of open connections. */
  get open(): number {
    return this.#open;
  }

  /** Runs one statement on a connection shared with other reads. Rejects with the database's error, or UNAVAILABLE. */
  async read(access: Access, query: Query): Promise<Rows> {
    let reader = await this.#reader(access);
    // It may have been lost since it was chosen, before anything was sent.
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
   * Runs one statement that may take long, so that no other read waits for it. Rejects with the database's error, UNAVAILABLE, or
   * RATE_LIMITED if too many of the tenant's long statements run already.
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

  /** Leases a connection until `release`; one left inside a transaction or broken is closed and not reused. */
  async acquire(access: Access): Promise<Lease> {
    const { login, role } = access;
    const pool = this.#poolOf(login, role);
    const connection = await this.#obtain(pool, access);
    const { client } = connection;
    let released = false;
    const release = (error?: unknown) => {
      if (released) return;
      released = true;
      countLease(pool, role, -1);
      // "I": the backend is outside a transaction, so that the connection can be reused.
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

  /** Closes the login's free connections, because it is about to be dropped or its password changed. */
  closeLogin(user: string): void {
    const pool = this.#pools.get(user);
    if (!pool) return;
    this.#pools.delete(user);
    for (const connection of connectionsOf(pool)) void this.#drop(connection);
  }

  /** Makes a shared login set a role again, because the role is about to be dropped and another may get its name. */
  forgetRole(role: string): void {
    for (const pool of this.#pools.values()) for (const connection of connectionsOf(pool)) connection.forgetRole(role);
  }

  /** Closes all connections; leased ones when they are returned. */
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
    const { best, vacant } = chooseReader(pool, first, this.#options.readersPerTenant);
    if (best && (vacant === undefined || best.load < busyReader || !this.#mayOpen(pool))) return best;
    const slot = vacant ?? first % pool.readers.length;
    if (this.#mayOpen(pool)) return this.#connect(pool, slot, first);
    // A free connection is for writing. A reader is needed in its place: it is opened first, so that no waiter takes the place.
    const connection = pool.free[0] ?? (await this.#wait(pool, undefined));
    const made = pool.readers[slot];
    if (made) {
      // Another waiter has opened the reader meanwhile.
      this.#release(connection);
      return made;
    }
    const reader = this.#connect(pool, slot, first);
    void this.#drop(connection);
    return reader;
  }

  /** Waits for a place. A connection that becomes available by the end of its cooldown sends no event, hence the timer. */
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
    const place = leasedBy(pool, access, this.#options.perTenant) === undefined ? undefined : this.#place(pool, access);
    return place ?? this.#wait(pool, access);
  }

  /** A connection for a tenant, or for a reader: a free one or a new one; undefined if there is none. */
  #place(pool: LoginPool, access: Access | undefined): PooledConnection | Promise<PooledConnection> | undefined {
    const found = nearest(pool.free, access?.slot ?? 0);
    if (!found && !this.#mayOpen(pool)) return undefined;
    if (access) countLease(pool, access.role, 1);
    if (found) {
      remove(pool.free, found);
      return found;
    }
    return this.#connect(pool, undefined, access?.slot ?? 0).catch((error: unknown) => {
      if (access) countLease(pool, access.role, -1);
      throw error;
    });
  }

  /** Opens a connection: a reader for a slot, or one to lease. */
  async #connect(pool: LoginPool, slot: number | undefined, near: number): Promise<PooledConnection> {
    this.#open++;
    pool.open++;
    const connection: PooledConnection = new Connection(
      pool,
      { login: pool.login, slot: near, pipeline: slot !== undefined },
      this.#options,
    );
    // A backend that ends between two queries emits an error, which would end this process without a listener.
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

  /** Ends a connection and opens one for the next waiter; a reader finishes its queries first. */
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

  /** Drops a connection. If it hung, it also drops those unused since: each would cost a request its timeout. */
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
      (pool, access) => leasedBy(pool, access, this.#options.perTenant),
      (pool, access) => this.#place(pool, access),
    );
  }

  /** Closes the connection of any login that has been free the longest. Returns whether there was one. */
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

  /** Whether a backend is old enough, or has served enough tenants, to be replaced. */
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

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
