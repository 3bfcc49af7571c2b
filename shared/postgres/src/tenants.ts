import { createHmac } from "node:crypto";
import { Problem, unavailable } from "@cell/problem";
import type pg from "pg";
import Cursor from "pg-cursor";
import type { Connections, Login } from "./connections.ts";
import { CopyOut, withLiterals } from "./copy.ts";
import { databaseProblem } from "./problems.ts";
import { camelCase, namesOf, readBatch, toObjects } from "./rows.ts";
import { type Send, Session, type TenantDb, WriteSession } from "./session.ts";
import { bind, type CompiledStatement, type Statement, statement, textFor } from "./statement.ts";
import { buildDeleteKept } from "./write.ts";

const deleteKept = statement(buildDeleteKept);

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
