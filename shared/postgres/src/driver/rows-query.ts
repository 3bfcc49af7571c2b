import pg from "pg";
import type { RawRow } from "./message-reader.ts";
import type { CachedStatement, Query } from "./query.ts";
import { type RowDescription, Rows, rowDescriptionOf } from "./rows.ts";

/** Members of the driver's query that its types lack. */
interface DriverQuery {
  name: string | undefined;
  values: readonly unknown[];
  queryMode: string;
  callback: (error: unknown, rows?: Rows) => void;
  submit(connection: pg.Connection): Error | null;
  handleError(error: unknown): void;
}
interface DriverConnection {
  bind(message: { statement: string; values: readonly unknown[]; valueMapper(value: unknown): unknown }): void;
  execute(): void;
  sync(): void;
}
// The types declare the class without the members that a subclass overrides.
const DriverQuery = pg.Query as unknown as new (text: string) => DriverQuery;
const { prepareValue } = (pg as typeof pg & { utils: { prepareValue(value: unknown): unknown } }).utils;

const noColumns: RowDescription = { names: [], types: [], parsers: [] };

/** A query whose rows stay unparsed. It asks for a row description once per prepared statement. */
export class RowsQuery extends DriverQuery {
  /** Read by the driver: the query's timeout in ms. */
  readonly query_timeout: number;
  readonly #statement: CachedStatement;
  readonly #rows: RawRow[] = [];
  readonly #maxBytes: number;
  #bytes = 0;
  #count = 0;

  constructor(query: Query, statement: CachedStatement, timeoutMs: number) {
    super(query.text);
    this.name = query.name;
    this.values = query.values ?? [];
    this.queryMode = query.queryMode;
    this.query_timeout = timeoutMs;
    this.#statement = statement;
    this.#maxBytes = query.maxBytes ?? Number.POSITIVE_INFINITY;
  }

  /** Sends the query. Rejects with the driver's error. */
  run(client: pg.Client): Promise<Rows> {
    return new Promise((resolve, reject) => {
      this.callback = (error, rows) => (rows ? resolve(rows) : reject(error));
      client.query(this);
    });
  }

  /** Called by the driver, like the methods below. */
  override submit(connection: pg.Connection): Error | null {
    const { name, values } = this;
    if (name === undefined || !this.#statement.rowDescription) return super.submit(connection);
    const driver = connection as pg.Connection & DriverConnection;
    driver.bind({ statement: name, values, valueMapper: prepareValue });
    driver.execute();
    driver.sync();
    return null;
  }

  handleRowDescription({ fields }: { fields: pg.FieldDef[] }): void {
    this.#statement.rowDescription = rowDescriptionOf(fields);
  }

  handleDataRow(row: RawRow): void {
    this.#count++;
    this.#bytes += row.size;
    if (this.#bytes <= this.#maxBytes || this.#rows.length === 0) this.#rows.push(row);
  }

  handleCommandComplete(): void {
    this.#statement.rowDescription ??= noColumns;
  }

  override handleError(error: unknown): void {
    this.callback(error);
  }

  handleReadyForQuery(): void {
    this.callback(undefined, new Rows(this.#statement.rowDescription ?? noColumns, this.#rows, this.#count > this.#rows.length));
  }
}
