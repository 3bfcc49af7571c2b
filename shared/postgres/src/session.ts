import { CopyIn, copyLine } from "./driver/copy.ts";
import type { Query } from "./driver/query.ts";
import type { Rows } from "./driver/rows.ts";
import type { Lease } from "./pool/tenant-pool.ts";
import { isConnectionLoss, tooLong, violatedConstraint } from "./problems.ts";
import { bind, type CompiledStatement, type Statement, statement } from "./statement.ts";
import {
  type AuditEntry,
  auditCopied,
  auditLines,
  buildStored,
  type Change,
  type Claim,
  composeWrite,
  lockNumber,
  type StoredResponse,
  writeValues,
} from "./write.ts";

declare const reading: unique symbol;
declare const writing: unique symbol;

/** A handle on one tenant's data for reading. Only `Tenant` creates one. */
export interface TenantDb {
  readonly [reading]: true;
  readonly tenantId: string;
  /** Number of migrations that its schema has had. */
  readonly version: number;
  /** Stays the same object for as long as this process knows the tenant at this place: a key for caches of its data. */
  readonly identity: object;
  /** All rows of a statement. */
  query<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R[]>;
  /** All rows of a statement, unparsed, for writing them on. Rows beyond `maxBytes` are dropped. */
  rows<P extends object, R>(statement: Statement<P, R>, values: P, maxBytes?: number): Promise<Rows<R>>;
  /** The first row, or undefined. */
  first<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R | undefined>;
  /** Rows in batches from one snapshot, on a leased connection, until the consumer stops or aborts. */
  stream<P extends object, R>(statement: Statement<P, R>, values: P, batchSize: number, signal?: AbortSignal): AsyncGenerator<R[]>;
  /** Like `stream` and several times as fast, but as lines of CSV that PostgreSQL writes, with these fields; chunks are split anywhere. */
  copy<P extends object>(
    statement: Statement<P, unknown>,
    values: P,
    fields: readonly string[],
    signal?: AbortSignal,
  ): AsyncGenerator<Buffer>;
}

/** A handle inside a command: it can also prepare changes, which the command's commit carries out. */
export interface TenantTx extends TenantDb {
  readonly [writing]: true;
  /**
   * A statement for the command to carry out. With `expectation` it has to match a row; otherwise everything is rolled back and the command
   * runs its work again, which then sees the row's new state.
   */
  change<P extends object>(statement: Statement<P, unknown>, values: P, expectation?: string): Change;
  /** From here on, reads are inside the transaction: for locks, and for work in several steps. */
  begin(): Promise<void>;
  /** Runs a statement now, inside the transaction that `begin` opened. */
  run<P extends object, R>(statement: Statement<P, R>, values: P): Promise<R[]>;
  /**
   * Inserts many rows now, inside the transaction that `begin` opened: all, or none if one exists already. Resolves to whether they were
   * inserted.
   */
  insertAll(rows: NewRows): Promise<boolean>;
  /** Writes audit entries now, inside the transaction that `begin` opened: for work with too many entries to hold until its commit. */
  record(audit: readonly AuditEntry[]): Promise<void>;
}

/** Rows to insert, by the names of the columns. */
export interface NewRows {
  table: string;
  columns: readonly string[];
  /** In the order of the columns, each in PostgreSQL's text form. */
  values: readonly (readonly (string | number | null)[])[];
  /** The unique index that identifies existing rows. */
  uniqueIndex: string;
}

/** Outcome of a write: carried out, an earlier one with the same key was found, or that one still runs. */
export type WriteResult = { outcome: "written" } | { outcome: "stored"; stored: StoredResponse } | { outcome: "running" };

/** Sends one query on the connection that the session reads from. */
export type Send = (query: Query) => Promise<Rows>;

const storedResponse = statement(buildStored);
const lockKey = "select pg_try_advisory_xact_lock($1::bigint) as locked";

/** A text that is the same for every tenant. */
function common(text: string, values: unknown[] = []): Query {
  return { name: text, text, values, queryMode: "extended" };
}

/** What a session needs of its tenant. */
export interface SessionTenant {
  readonly tenantId: string;
  readonly version: number;
  configure(compiled: CompiledStatement, values: unknown[]): Query;
  readonly schema: string;
  /** Sends a long statement on a leased connection. */
  readonly sendLong: Send;
  /** Time limit of a query. */
  readonly queryTimeoutMs: number;
  stream<P extends object, R>(query: Statement<P, R>, values: P, batchSize: number, signal?: AbortSignal): AsyncGenerator<R[]>;
  copy<P extends object>(query: Statement<P, unknown>, values: P, fields: readonly string[], signal?: AbortSignal): AsyncGenerator<Buffer>;
}

/** The implementation of TenantDb. */
export class Session implements TenantDb {
  declare readonly [reading]: true;
  readonly tenantId: string;
  protected readonly tenant: SessionTenant;
  protected send: Send;
  readonly #deadlineAtMs: number;

  /** `deadlineAtMs`: on the clock of `performance.now()`; no long statement begins after it. */
  constructor(tenant: SessionTenant, send: Send, deadlineAtMs = Number.POSITIVE_INFINITY) {
    this.tenant = tenant;
    this.tenantId = tenant.tenantId;
    this.send = send;
    this.#deadlineAtMs = deadlineAtMs;
  }

  get identity(): object {
    return this.tenant;
  }

  get version(): number {
    return this.tenant.version;
  }

  async query<P extends object, R>(query: Statement<P, R>, values: P): Promise<R[]> {
    return (await this.rows(query, values)).objects();
  }

  async rows<P extends object, R>(statement: Statement<P, R>, values: P, maxBytes?: number): Promise<Rows<R>> {
    const { compiled } = statement;
    const configured = this.tenant.configure(compiled, bind(compiled, values));
    const query = maxBytes === undefined ? configured : { ...configured, maxBytes };
    return (await (compiled.long ? this.sendLong(query) : this.send(query))) as Rows<R>;
  }

  protected async sendLong(query: Query): Promise<Rows> {
    if (performance.now() > this.#deadlineAtMs) throw tooLong();
    return this.tenant.sendLong(query);
  }

  async first<P extends object, R>(query: Statement<P, R>, values: P): Promise<R | undefined> {
    return (await this.rows(query, values)).at(0);
  }

  stream<P extends object, R>(query: Statement<P, R>, values: P, batchSize: number, signal?: AbortSignal): AsyncGenerator<R[]> {
    return this.tenant.stream(query, values, batchSize, signal);
  }

  copy<P extends object>(query: Statement<P, unknown>, values: P, fields: readonly string[], signal?: AbortSignal): AsyncGenerator<Buffer> {
    return this.tenant.copy(query, values, fields, signal);
  }
}

/** The session of a command. Slices see it as TenantTx; the rest is for the command only. */
export class WriteSession extends Session implements TenantTx {
  declare readonly [writing]: true;
  readonly #acquire: () => Promise<Lease>;
  #lease: Lease | undefined;
  #ended = false;
  /** The last work sent on the transaction's connection, which takes one at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(tenant: SessionTenant, send: Send, acquire: () => Promise<Lease>) {
    super(tenant, send);
    this.#acquire = acquire;
  }

  /** Runs beside the first read, or inside the transaction if `begin` comes first; if it throws, the work ends. */
  guard: ((begun: boolean) => Promise<void>) | undefined;

  /** Whether the work has opened a transaction. */
  get begun(): boolean {
    return this.#lease !== undefined;
  }

  /** The same object, as slices may use it. */
  get tx(): TenantTx {
    return this;
  }

  change<P extends object>(query: Statement<P, unknown>, values: P, expectation?: string): Change {
    return { statement: query, values, expectation };
  }

  async begin(): Promise<void> {
    if (this.#lease) return;
    const lease = await this.#acquire();
    this.#lease = lease;
    this.send = (query) => this.#serialized((lease) => lease.query(query));
    await this.#control("begin");
    const guard = this.#takeGuard();
    await guard?.(true);
  }

  override async rows<P extends object, R>(query: Statement<P, R>, values: P, maxBytes?: number): Promise<Rows<R>> {
    const guard = this.#takeGuard();
    if (!guard) return super.rows(query, values, maxBytes);
    const [looked, rows] = await Promise.allSettled([guard(false), super.rows(query, values, maxBytes)]);
    if (looked.status === "rejected") throw looked.reason;
    if (rows.status === "rejected") throw rows.reason;
    return rows.value;
  }

  protected override sendLong(query: Query): Promise<Rows> {
    return this.begun ? this.send(query) : super.sendLong(query);
  }

  async run<P extends object, R>(query: Statement<P, R>, values: P): Promise<R[]> {
    this.#transaction();
    return this.query(query, values);
  }

  /** The transaction's connection; throws after the transaction's end, when another request may have the connection. */
  #transaction(): Lease {
    if (!this.#lease) throw new Error("There is no transaction before begin()");
    if (this.#ended) throw new Error("There is no transaction after end()");
    return this.#lease;
  }

  /** The stored response of a key, if there is one. */
  findStoredResponse(key: Buffer): Promise<StoredResponse | undefined> {
    return this.first(storedResponse, { key });
  }

  /** Takes the key's lock for the transaction that `begin` opened. False: another request with this key is running. */
  async lockKey(key: Buffer): Promise<boolean> {
    const result = (await this.send(common(lockKey, [lockNumber(key)]))) as Rows<{ locked: boolean }>;
    return result.at(0)?.locked === true;
  }

  /** Claim, changes and audit entries in one statement, and the commit. Rejects with the database's error; then nothing has changed. */
  async commit(claim: Claim | undefined, changes: readonly Change[], audit: readonly AuditEntry[]): Promise<WriteResult> {
    const begun = this.#lease !== undefined;
    this.#lease ??= await this.#acquire();
    if (!claim && changes.length === 0 && audit.length === 0) {
      if (begun) await this.#control("commit");
      return { outcome: "written" };
    }
    const compiled = composeWrite(claim !== undefined, changes, audit.length > 0);
    const write = this.tenant.configure(compiled, bind(compiled, writeValues(claim, changes, audit)));
    const result = await this.#serialized((lease) => lease.query(write));
    const row = (result as Rows<{ claimed: boolean } & StoredResponse>).at(0);
    if (!row?.claimed) return row?.fingerprint ? { outcome: "stored", stored: row } : { outcome: "running" };
    if (begun) await this.#control("commit");
    return { outcome: "written" };
  }

  insertAll({ table, columns, values, uniqueIndex }: NewRows): Promise<boolean> {
    const into = `copy "${this.tenant.schema}"."${table}" (${columns.map((column) => `"${column}"`).join(", ")}) from stdin`;
    const copy = this.#copyIn(`savepoint rows; ${into}; release savepoint rows`, values.map(copyLine).join(""));
    // If rows are rejected, the rollback to the savepoint must run before anything else is sent.
    return this.#serialized(async (lease) => {
      try {
        await lease.client.query(copy).ended;
        return true;
      } catch (error) {
        if (violatedConstraint(error) !== uniqueIndex) throw error;
        for (const text of ["rollback to savepoint rows", "release savepoint rows"]) await lease.query(common(text));
        return false;
      }
    });
  }

  async record(audit: readonly AuditEntry[]): Promise<void> {
    if (audit.length === 0) return;
    const copy = this.#copyIn(`copy "${this.tenant.schema}".${auditCopied} from stdin`, auditLines(audit));
    await this.#serialized(({ client }) => client.query(copy).ended);
  }

  #copyIn(text: string, lines: string): CopyIn {
    return new CopyIn(text, Buffer.from(lines), this.tenant.queryTimeoutMs);
  }

  /** Runs work on the transaction's connection, after everything sent before it. */
  async #serialized<T>(work: (lease: Lease) => Promise<T>): Promise<T> {
    this.#transaction();
    const before = this.#last;
    const turn = before.then(() => work(this.#transaction()));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Returns the connection; a transaction that was not committed is rolled back. */
  async end(error?: unknown): Promise<void> {
    const lease = this.#lease;
    if (!lease || this.#ended) return;
    this.#ended = true;
    const { client, release } = lease;
    // If the rollback fails, the connection is not in state "I" and is closed; on a lost or hanging one it is not worth waiting for.
    if (!isConnectionLoss(error)) await this.#last;
    if (client.getTransactionStatus() !== "I" && !isConnectionLoss(error)) await lease.query(common("rollback")).catch(() => undefined);
    release(error);
  }

  #takeGuard(): ((begun: boolean) => Promise<void>) | undefined {
    const { guard } = this;
    this.guard = undefined;
    return guard;
  }

  async #control(text: "begin" | "commit"): Promise<void> {
    await this.#serialized((lease) => lease.query(common(text)));
  }
}
