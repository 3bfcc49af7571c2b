import type { Duplex } from "node:stream";
import pg from "pg";
import { readCopyData } from "./copied-rows.ts";

/** The consumer is only woken for at least this many bytes, except at the end. */
const worthReading = 48 * 1024;
/** Bytes that may wait for the consumer before the connection is paused. */
const waitingAtMost = 56 * 1024;
/** Room for the waiting bytes and the last chunk of the connection beyond the limit. */
const blockLength = waitingAtMost + 64 * 1024;
/** Time without a read after which the connection is destroyed. */
const stalledAfterMs = 60_000;

/** A query's text with its values as literals: COPY takes no parameters. */
export function withLiterals(text: string, values: readonly unknown[]): string {
  return text.replace(/\$(\d+)/g, (_, position: string) => literal(values[Number(position) - 1]));
}

function literal(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return pg.escapeLiteral(arrayText(value));
  return pg.escapeLiteral(String(value));
}

/** An array of texts as a PostgreSQL array literal. */
export function arrayText(items: readonly unknown[]): string {
  return `{${items.map((item) => `"${String(item).replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}

/** A running COPY TO STDOUT; `read` takes its rows. */
export class CopyOut {
  readonly #text: string;
  #stream: Duplex | undefined;
  /** Two blocks, one filled while the other is read: a new block per read would cost the garbage collector too much for a million rows. */
  #block = Buffer.allocUnsafe(blockLength);
  #other = Buffer.allocUnsafe(blockLength);
  #waiting = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #stall: NodeJS.Timeout | undefined;

  /** `format`: COPY's name of the format. */
  constructor(query: string, format: "text" | "csv" = "text") {
    this.#text = `copy (${query}) to stdout (format ${format})`;
  }

  /** The bytes that have arrived, split anywhere and valid until the next read; undefined at the end. Rejects with the database's error. */
  async read(): Promise<Buffer | undefined> {
    while (this.#waiting < worthReading && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#error) throw this.#error;
    const rows = this.#block.subarray(0, this.#waiting);
    [this.#block, this.#other] = [this.#other, this.#block];
    this.#waiting = 0;
    clearTimeout(this.#stall);
    this.#stream?.resume();
    return rows.length > 0 ? rows : undefined;
  }

  /** Called by the driver, like the methods below. */
  submit(connection: pg.Connection): void {
    this.#stream = connection.stream as Duplex;
    readCopyData(this.#stream, (rows) => this.#take(rows));
    // Uses the extended protocol, although COPY takes no parameters: a value that escaped its quotes could not begin a second statement.
    connection.parse({ name: "", text: this.#text, types: [] }, true);
    connection.bind({}, true);
    connection.execute({}, true);
    connection.sync();
  }

  #take(rows: Buffer): void {
    const before = this.#waiting;
    this.#waiting += rows.length;
    if (this.#waiting > this.#block.length) this.#block = Buffer.concat([this.#block.subarray(0, before)], 2 * this.#waiting);
    this.#block.set(rows, before);
    const stream = this.#stream;
    if (before <= waitingAtMost && this.#waiting > waitingAtMost && stream) {
      stream.pause();
      this.#stall = setTimeout(() => stream.destroy(new Error("Connection terminated: the rows were not read")), stalledAfterMs);
    }
    if (this.#waiting >= worthReading) this.#proceed();
  }

  handleError(error: Error): void {
    clearTimeout(this.#stall);
    this.#error = error;
    this.#ended = true;
    this.#proceed();
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#ended = true;
    this.#proceed();
  }

  #proceed(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** A COPY FROM STDIN of rows in memory; `ended` rejects with the database's error. */
export class CopyIn {
  readonly #text: string;
  readonly #rows: Buffer;
  readonly ended: Promise<void>;
  /** Read by the driver, which reports a timeout by the callback. */
  readonly query_timeout: number | undefined;
  callback: (error: Error | null) => void = () => undefined;

  /** `timeoutMs`: time limit of the response. */
  constructor(text: string, rows: Buffer, timeoutMs?: number) {
    this.#text = text;
    this.#rows = rows;
    this.query_timeout = timeoutMs;
    this.ended = new Promise((resolve, reject) => {
      this.callback = (error) => (error ? reject(error) : resolve());
    });
  }

  /** Called by the driver, like the methods below. */
  submit(connection: pg.Connection): void {
    connection.query(this.#text);
    const rows = connection as pg.Connection & CopyInConnection;
    // Does not wait for the response: the server skips the rows of a COPY that it has rejected.
    rows.sendCopyFromChunk(this.#rows);
    rows.endCopyFrom();
  }

  handleCopyInResponse(): void {}

  handleError(error: Error): void {
    this.callback(error);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.callback(null);
  }
}

const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** A row as a line of COPY's text format. */
export function copyLine(values: readonly (string | number | null)[]): string {
  return `${values.map((value) => (value === null ? "\\N" : typeof value === "number" ? value : value.replace(/[\\\t\n\r]/g, (found) => escapes[found] ?? found))).join("\t")}\n`;
}

/** Methods of the driver's connection that its types lack. */
interface CopyInConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}
