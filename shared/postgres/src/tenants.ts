import { createHmac } from "node:crypto";
import { Problem, unavailable } from "@cell/problem";
import type pg from "pg";
import Cursor from "pg-cursor";
import type { Connections, Lease, Login } from "./connections.ts";
import { CopyOut, withLiterals } from "./copy.ts";
import { databaseProblem } from "./problems.ts";
import { bind, type CompiledStatement, type Statement, statement, textFor } from "./statement.ts";
import {
  type AuditEntry,
  buildDeleteKept,
  buildKept,
  type Change,
  type Claim,
  composeWrite,
  type KeptAnswer,
  lockNumber,
  writeValues,
} from "./write.ts";

declare const reading: unique symbol;
declare const writing: unique symbol;

/** A handle on one tenant's data that may read. Only `Tenant` makes one. */
export interface TenantDb {
  readonly [reading]: true;
  readonly tenantId: string;
  /** All rows of a statement. */
  query<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R[]>;
  /** The first row, or undefined. */
  first<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R | undefined>;
  /** Rows in batches from one snapshot, on a connection of its own, until the consumer stops. */
  stream<P extends object, R>(statement: Statement<P, R>, values: P, batchSize: number): AsyncGenerator<R[]>;
  /** As `stream`, several times as fast, but as lines of COPY's text format, the columns' names in camelCase coming first. */
  copy<P extends object>(statement: Statement<P, unknown>, values: P): AsyncGenerator<string[]>;
}

/** A handle inside a command: it may also prepare changes, which happen when the command commits. */
export interface TenantTx extends TenantDb {
  readonly [writing]: true;
  /**
   * A statement for the command to carry out. With `expectation` it has to meet a row; otherwise everything is rolled back and
   * the command runs its work again, which then sees what has become of the row.
   */
  change<P extends object>(statement: Statement<P, unknown>, values: P, expectation?: string): Change;
  /** From here on, reads happen inside the transaction: for locks, and for work in several steps. */
  begin(): Promise<void>;
  /** Carries out a statement now, inside the transaction that `begin` opened. */
  run<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R[]>;
}

/** What a write ended in: it was carried out, an earlier one with the same key was found, or that one still runs. */
export type WriteResult = { outcome: "written" } | { outcome: "kept"; kept: KeptAnswer } | { outcome: "running" };

type Send = (query: pg.QueryArrayConfig) => Promise<pg.QueryArrayResult>;

const keptAnswer = statement(buildKept);
const deleteKept = statement(buildDeleteKept);
const lockKey = "select pg_try_advisory_xact_lock($1::bigint)";

/** One tenant in one cell: its schema, its login, and the texts of the statements that it has used. */
export class Tenant {
  readonly tenantId: string;
  readonly schema: string;
  /** How many migrations its schema has seen. */
  readonly version: number;
  readonly #login: Login;
  readonly #connections: Connections;
  readonly #texts = new Map<CompiledStatement, { name: string | undefined; text: string }>();
  static #names = 0;

  constructor(row: { tenantId: string; schema: string; version: number }, login: Login, connections: Connections) {
    this.tenantId = row.tenantId;
    this.schema = row.schema;
    this.version = row.version;
    this.#login = login;
    this.#connections = connections;
  }

  get login(): Login {
    return this.#login;
  }

  /** A handle that reads; each read is a transaction of its own. */
  reader(): TenantDb {
    return new Session(this, this.#reads) as unknown as TenantDb;
  }

  /** A handle for one command; `end` it in any case. */
  writer(): WriteSession {
    return new WriteSession(this, this.#reads, () => this.#connections.acquire(this.#login));
  }

  /** Lends a session to work outside of any command, such as the background's; what it does not commit is rolled back. Rejects with the database's error. */
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

  /** Removes a kept answer, so that its key is new again. */
  async forgetKept(key: Buffer): Promise<void> {
    await this.#reads(this.configure(deleteKept.compiled, bind(deleteKept.compiled, { key })));
  }

  /** Rows in batches through a cursor, from one snapshot; a consumer that leaves early closes the connection. */
  async *stream<P extends object, R>(query: Statement<P, R>, values: P, batchSize: number): AsyncGenerator<R[]> {
    const { compiled } = query;
    const { client, release } = await this.#connections.acquire(this.#login);
    try {
      await client.query("begin transaction isolation level repeatable read read only");
      await client.query("set local statement_timeout = 0");
      await client.query("set local idle_in_transaction_session_timeout = '60s'");
      const cursor = client.query(new Cursor<unknown[]>(this.text(compiled).text, bind(compiled, values), { rowMode: "array" }));
      for (;;) {
        const { rows, fields } = await readBatch(cursor, batchSize);
        if (rows.length > 0) yield toObjects<R>(namesOf(fields), rows);
        if (rows.length < batchSize) break;
      }
      await client.query("commit");
    } catch (error) {
      throw databaseProblem(error);
    } finally {
      release();
    }
  }

  /** Rows as lines of text, from one snapshot; a consumer that leaves early closes the connection. */
  async *copy<P extends object>(query: Statement<P, unknown>, values: P): AsyncGenerator<string[]> {
    const { compiled } = query;
    const { client, release } = await this.#connections.acquire(this.#login);
    try {
      await client.query("begin read only");
      await client.query("set local statement_timeout = 0");
      const copied = client.query(new CopyOut(withLiterals(this.text(compiled).text, bind(compiled, values))));
      let named = false;
      for (let rows = await copied.read(); rows !== undefined; rows = await copied.read()) {
        const lines = rows.split("\n");
        lines.pop();
        if (!named) yield (lines.shift() ?? "").split("\t").map(camelCase);
        named = true;
        if (lines.length > 0) yield lines;
      }
      await client.query("commit");
    } catch (error) {
      throw databaseProblem(error);
    } finally {
      release();
    }
  }

  readonly #reads: Send = async (query) => {
    try {
      return await this.#connections.read(this.#login, query);
    } catch (error) {
      throw databaseProblem(error);
    }
  };

  /** The statement's text for this schema, and the name under which connections keep it. */
  text(compiled: CompiledStatement): { name: string | undefined; text: string } {
    let known = this.#texts.get(compiled);
    if (!known) {
      known = { name: compiled.keep ? `s${Tenant.#names++}` : undefined, text: textFor(compiled, `"${this.schema}"`) };
      if (compiled.keep) this.#texts.set(compiled, known);
    }
    return known;
  }

  configure(compiled: CompiledStatement, values: unknown[]): pg.QueryArrayConfig {
    const { name, text } = this.text(compiled);
    const query = { text, values, rowMode: "array" as const, query_timeout: this.#connections.queryTimeoutMs };
    return name === undefined ? query : { name, ...query };
  }
}

class Session {
  readonly tenantId: string;
  protected readonly tenant: Tenant;
  protected send: Send;

  constructor(tenant: Tenant, send: Send) {
    this.tenant = tenant;
    this.tenantId = tenant.tenantId;
    this.send = send;
  }

  async query<P extends object, R>(query: Statement<P, R>, values: P): Promise<R[]> {
    const { compiled } = query;
    return decode<R>(compiled, await this.send(this.tenant.configure(compiled, bind(compiled, values))));
  }

  async first<P extends object, R>(query: Statement<P, R>, values: P): Promise<R | undefined> {
    const [row] = await this.query(query, values);
    return row;
  }

  stream<P extends object, R>(query: Statement<P, R>, values: P, batchSize: number): AsyncGenerator<R[]> {
    return this.tenant.stream(query, values, batchSize);
  }

  copy<P extends object>(query: Statement<P, unknown>, values: P): AsyncGenerator<string[]> {
    return this.tenant.copy(query, values);
  }
}

/** The handle behind a command. Slices see it as TenantTx; the rest is for the command alone. */
export class WriteSession extends Session {
  readonly #acquire: () => Promise<Lease>;
  #lease: Lease | undefined;

  constructor(tenant: Tenant, send: Send, acquire: () => Promise<Lease>) {
    super(tenant, send);
    this.#acquire = acquire;
  }

  /** Runs beside the first read, or inside the transaction when `begin` comes first; what it throws ends the work. */
  guard: ((begun: boolean) => Promise<void>) | undefined;

  /** Whether the work opened a transaction. */
  get begun(): boolean {
    return this.#lease !== undefined;
  }

  /** The same object, as what a slice may do with it. */
  get tx(): TenantTx {
    return this as unknown as TenantTx;
  }

  change<P extends object>(query: Statement<P, unknown>, values: P, expectation?: string): Change {
    return { statement: query as unknown as Statement<never, unknown>, values, expectation };
  }

  async begin(): Promise<void> {
    if (this.#lease) return;
    this.#lease = await this.#acquire();
    const { client } = this.#lease;
    this.send = (query) => client.query(query);
    await this.#control("begin");
    const guard = this.#takeGuard();
    await guard?.(true);
  }

  override async query<P extends object, R>(query: Statement<P, R>, values: P): Promise<R[]> {
    const guard = this.#takeGuard();
    if (!guard) return super.query(query, values);
    const [looked, rows] = await Promise.allSettled([guard(false), super.query(query, values)]);
    if (looked.status === "rejected") throw looked.reason;
    if (rows.status === "rejected") throw rows.reason;
    return rows.value;
  }

  async run<P extends object, R>(query: Statement<P, R>, values: P): Promise<R[]> {
    this.connection();
    return this.query(query, values);
  }

  /** The transaction's connection, for protocols of its own such as COPY. */
  connection(): pg.Client {
    if (!this.#lease) throw new Error("There is no transaction before begin()");
    return this.#lease.client;
  }

  /** The answer kept under a key, if one is. */
  findKept(key: Buffer): Promise<KeptAnswer | undefined> {
    return this.first(keptAnswer, { key });
  }

  /** Takes the key's lock for the transaction that `begin` opened. False: another request with this key runs. */
  async lockKey(key: Buffer): Promise<boolean> {
    const result = await this.send({ text: lockKey, values: [lockNumber(key)], rowMode: "array" });
    return result.rows[0]?.[0] === true;
  }

  /** Claim, changes and audit entries in one statement, and the commit. Rejects with the database's error; then nothing has changed. */
  async commit(claim: Claim | undefined, changes: readonly Change[], audit: readonly AuditEntry[]): Promise<WriteResult> {
    const begun = this.#lease !== undefined;
    this.#lease ??= await this.#acquire();
    const { client } = this.#lease;
    if (!claim && changes.length === 0 && audit.length === 0) {
      if (begun) await this.#control("commit");
      return { outcome: "written" };
    }
    const compiled = composeWrite(claim !== undefined, changes, audit.length > 0);
    const result = await client.query(this.tenant.configure(compiled, bind(compiled, writeValues(claim, changes, audit))));
    const [row] = decode<{ claimed: boolean } & KeptAnswer>(compiled, result);
    if (!row?.claimed) return row?.fingerprint ? { outcome: "kept", kept: row } : { outcome: "running" };
    if (begun) await this.#control("commit");
    return { outcome: "written" };
  }

  /** Writes audit entries now, inside the transaction that `begin` opened: for work whose entries are too many to be kept until its commit. */
  async record(audit: readonly AuditEntry[]): Promise<void> {
    if (audit.length === 0) return;
    const compiled = composeWrite(false, [], true);
    await this.connection().query(this.tenant.configure(compiled, bind(compiled, writeValues(undefined, [], audit))));
  }

  /** Gives the connection back; a transaction that was not committed is rolled back. */
  async end(error?: unknown): Promise<void> {
    if (!this.#lease) return;
    const { client, release } = this.#lease;
    // A rollback that fails leaves the connection outside of "I", and so closed.
    if (client.getTransactionStatus() !== "I") await this.#control("rollback").catch(() => undefined);
    release(error);
  }

  #takeGuard(): ((begun: boolean) => Promise<void>) | undefined {
    const { guard } = this;
    this.guard = undefined;
    return guard;
  }

  async #control(text: "begin" | "commit" | "rollback"): Promise<void> {
    await this.connection().query(this.tenant.configure({ text, parameters: [], keep: false }, []));
  }
}

const rowNames = new WeakMap<CompiledStatement, string[]>();

/** Rows as objects with names in camelCase; the names are worked out once for each statement. */
function decode<R>(compiled: CompiledStatement, result: pg.QueryArrayResult): R[] {
  let names = rowNames.get(compiled);
  if (!names) {
    names = namesOf(result.fields);
    rowNames.set(compiled, names);
  }
  return toObjects<R>(names, result.rows);
}

function namesOf(fields: pg.FieldDef[]): string[] {
  return fields.map((field) => camelCase(field.name));
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function toObjects<R>(names: string[], rows: unknown[][]): R[] {
  return rows.map((row) => {
    const object: Record<string, unknown> = {};
    for (let index = 0; index < names.length; index++) object[names[index] as string] = row[index];
    return object as R;
  });
}

function readBatch(cursor: Cursor<unknown[]>, size: number): Promise<{ rows: unknown[][]; fields: pg.FieldDef[] }> {
  return new Promise((resolve, reject) => {
    // A cursor at its end answers without a result, whatever its types say.
    cursor.read(size, (error, rows, result: pg.QueryResult | undefined) =>
      error ? reject(error) : resolve({ rows, fields: result?.fields ?? [] }),
    );
  });
}

/** The login of a tenant's schema. Its password comes out of the cell's secret: nothing to store, and the same in every process. */
export function tenantLogin(schema: string, secret: string): Login {
  return { user: schema, password: createHmac("sha256", secret).update(`tenant login ${schema}`).digest("base64url") };
}

const tenantIdPattern = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;

/** `tenant-001` lives in `tenant_tenant_001`: ids hold no underscore, so that no two share a schema. */
export function schemaOf(tenantId: string): string {
  if (!tenantIdPattern.test(tenantId)) throw new Problem("BAD_REQUEST", "A tenant's id is 1 to 40 of a-z, 0-9 and inner hyphens");
  return `tenant_${tenantId.replaceAll("-", "_")}`;
}

/** 503 for a tenant whose schema is older than this program needs. */
export function assertCurrent(tenant: Tenant, version: number): void {
  if (tenant.version < version) throw unavailable("This tenant is being upgraded; try again in a moment", 5);
}
