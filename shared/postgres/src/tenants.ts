import { createHmac, hash } from "node:crypto";
import { Problem, unavailable } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type pg from "pg";
import Cursor from "pg-cursor";
import { CopyOut, withLiterals } from "./driver/copy.ts";
import type { Query } from "./driver/query.ts";
import { columnOf, readBatch, rowDescriptionOf, toObjects } from "./driver/rows.ts";
import type { Access, Login } from "./pool/connection.ts";
import type { TenantPool } from "./pool/tenant-pool.ts";
import { databaseProblem } from "./problems.ts";
import { type Send, Session, type TenantDb, WriteSession } from "./session.ts";
import { bind, type CompiledStatement, type Statement, statement, textFor } from "./statement.ts";
import { buildDeleteStored } from "./write.ts";

const deleteStored = statement(buildDeleteStored);

/** Statement texts by name, over all tenants: some 30 MB. */
const texts = new LRUCache<string, string>({ max: 20_000 });

/**
 * Whether a tenant is served here. `active`: in full. `paused` and `arrived`: to readers only, because it is about to leave or has just
 * come. `arriving`: not yet. `moved`: no longer.
 */
export type TenantState = "active" | "paused" | "arriving" | "arrived" | "moved";

/** One tenant in one cell: its schema, its login, and the texts of its statements. */
export class Tenant {
  readonly tenantId: string;
  readonly schema: string;
  /** Number of migrations that its schema has had. */
  readonly version: number;
  readonly #access: Access;
  readonly #connections: TenantPool;
  #state: TenantState;
  #epoch: number;
  #stateReadAtMs = performance.now();

  constructor(
    row: { tenantId: string; schema: string; version: number; state: TenantState; epoch: number },
    access: Access,
    connections: TenantPool,
  ) {
    this.tenantId = row.tenantId;
    this.schema = row.schema;
    this.version = row.version;
    this.#access = access;
    this.#connections = connections;
    this.#state = row.state;
    this.#epoch = row.epoch;
  }

  /** As of the last read: another process may have changed it. */
  get state(): TenantState {
    return this.#state;
  }

  /** Number of the last move that changed the state here. */
  get epoch(): number {
    return this.#epoch;
  }

  get stateReadAtMs(): number {
    return this.#stateReadAtMs;
  }

  /** For the registry only. */
  setState({ state, epoch }: { state: TenantState; epoch: number }): void {
    this.#state = state;
    this.#epoch = epoch;
    this.#stateReadAtMs = performance.now();
  }

  /** For the registry only: the state is read again before the next use. */
  doubtState(): void {
    this.#state = "paused";
    this.#stateReadAtMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * A handle for reading; each read is its own transaction. No long statement begins after `deadlineAtMs`, on the clock of
   * `performance.now()`.
   */
  reader(deadlineAtMs?: number): TenantDb {
    return new Session(this, this.#reads, deadlineAtMs);
  }

  /** A session for one command; `end` it in any case. */
  writer(): WriteSession {
    return new WriteSession(this, this.#reads, () => this.#connections.acquire(this.#access));
  }

  /**
   * Runs work in a session outside any command, such as background work; what it does not commit is rolled back. Rejects with the
   * database's error.
   */
  async write<T>(work: (session: WriteSession) => Promise<T>): Promise<T> {
    const session = this.writer();
    let failure: unknown;
    try {
      return await work(session);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      await session.end(failure);
    }
  }

  /** Removes a stored response, so that its key is new again. */
  async forgetStoredResponse(key: Buffer): Promise<void> {
    await this.#reads(this.configure(deleteStored.compiled, bind(deleteStored.compiled, { key })));
  }

  /** Rows in batches through a cursor, from one snapshot; if the consumer leaves early or aborts, the connection is closed. */
  async *stream<P extends object, R>(query: Statement<P, R>, values: P, batchSize: number, signal?: AbortSignal): AsyncGenerator<R[]> {
    const { compiled } = query;
    const { client, release } = await this.#connections.acquire(this.#access);
    const unwatch = closeOnAbort(client, signal);
    try {
      await client.query(`begin transaction isolation level repeatable read read only; ${streaming}`);
      const cursor = client.query(new Cursor<unknown[]>(this.text(compiled).text, bind(compiled, values), { rowMode: "array" }));
      for (;;) {
        const { rows, fields } = await readBatch(cursor, batchSize);
        if (rows.length > 0) yield toObjects<R>(rowDescriptionOf(fields).names, rows);
        if (rows.length < batchSize) break;
      }
      await client.query("commit");
    } catch (error) {
      throw databaseProblem(error);
    } finally {
      unwatch();
      release();
    }
  }

  /**
   * These fields of the rows as CSV that PostgreSQL writes, from one snapshot and split anywhere; if the consumer leaves early or aborts,
   * the connection is closed.
   */
  async *copy<P extends object>(
    query: Statement<P, unknown>,
    values: P,
    fields: readonly string[],
    signal?: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const { compiled } = query;
    const { client, release } = await this.#connections.acquire(this.#access);
    const unwatch = closeOnAbort(client, signal);
    try {
      await client.query(`begin read only; ${streaming}`);
      const rows = withLiterals(this.text(compiled).text, bind(compiled, values));
      const copied = client.query(new CopyOut(`select ${fields.map(columnOf).join(", ")} from (${rows}) as rows`, "csv"));
      for (let chunk = await copied.read(); chunk; chunk = await copied.read()) yield chunk;
      await client.query("commit");
    } catch (error) {
      throw databaseProblem(error);
    } finally {
      unwatch();
      release();
    }
  }

  readonly #reads: Send = async (query) => {
    try {
      return await this.#connections.read(this.#access, query);
    } catch (error) {
      throw databaseProblem(error);
    }
  };

  readonly sendLong: Send = async (query) => {
    try {
      return await this.#connections.readLong(this.#access, query);
    } catch (error) {
      throw databaseProblem(error);
    }
  };

  /** The statement's text for this schema, and its name on connections. */
  text(compiled: CompiledStatement): { name: string | undefined; text: string } {
    if (!compiled.keep) return { name: undefined, text: textFor(compiled, `"${this.schema}"`) };
    const name = `s${compiled.id}_${this.schema}`;
    let text = texts.get(name);
    if (text === undefined) {
      text = textFor(compiled, `"${this.schema}"`);
      texts.set(name, text);
    }
    return { name, text };
  }

  configure(compiled: CompiledStatement, values: unknown[]): Query {
    const { name, text } = this.text(compiled);
    const query: Query = { text, values, queryMode: "extended" };
    return name === undefined ? query : { name, ...query };
  }

  get queryTimeoutMs(): number {
    return this.#connections.queryTimeoutMs;
  }
}

/** Settings of a transaction whose rows the client's pace limits; a backend whose connection was closed ends within a second. */
const streaming = `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = '60s';
  set local client_connection_check_interval = '1s'`;

/** Closes a connection when its work is aborted, whatever it waits for. Returns a function that ends the watch. */
function closeOnAbort(client: pg.Client, signal: AbortSignal | undefined): () => void {
  const close = () => {
    const { connection } = client as pg.Client & { connection: pg.Connection };
    connection.stream.destroy(new Error("Connection terminated: the consumer has left"));
  };
  if (signal?.aborted) close();
  signal?.addEventListener("abort", close);
  return () => signal?.removeEventListener("abort", close);
}

/** The login of a tenant's schema. Its password is derived from the cell's secret: it is not stored, and is the same in every process. */
export function tenantLogin(schema: string, secret: string): Login {
  return { user: schema, password: createHmac("sha256", secret).update(`tenant login ${schema}`).digest("base64url") };
}

/** The login and role of a tenant's statements: a login of its own, or one that all tenants share. */
export function tenantAccess(schema: string, login: Login): Access {
  return { login, role: schema, slot: hash("sha256", schema, "buffer").readUInt16BE(0) };
}

const tenantIdPattern = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;

/** `tenant-001` is stored in `tenant_tenant_001`: ids contain no underscore, so that no two share a schema. */
export function schemaOf(tenantId: string): string {
  if (!tenantIdPattern.test(tenantId)) throw new Problem("BAD_REQUEST", "A tenant's id is 1 to 40 of a-z, 0-9 and inner hyphens");
  return `tenant_${tenantId.replaceAll("-", "_")}`;
}

/** 503 for a tenant whose schema is older than this program needs. */
export function assertCurrent(tenant: Tenant, version: number): void {
  if (tenant.version < version) throw unavailable("This tenant is being upgraded; try again in a moment", 5);
}

/**
 * Rejects a request for a tenant that is no longer here with 421, which makes a gateway look up its placement again; a write during a move
 * with 503. Nothing has happened then.
 */
export function assertServed(tenant: Tenant, writes: boolean): void {
  switch (tenant.state) {
    case "active":
      return;
    case "arriving":
    case "moved":
      throw new Problem("UNAVAILABLE", "This tenant is served elsewhere; try again", { status: 421, headers: { "retry-after": "1" } });
    default:
      if (writes) throw unavailable("This tenant is being moved and takes no writes for some seconds; try again");
  }
}
