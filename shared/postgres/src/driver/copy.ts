import type { Duplex } from "node:stream";
import pg from "pg";
import { readCopyData } from "./copied-rows.ts";

/** Less is not worth a turn of the consumer, but at the end. */
const worthReading = 48 * 1024;
/** Bytes that may wait for the consumer before the database is made to wait. */
const waitingAtMost = 56 * 1024;
/** What waits and, beyond the limit, the piece that the connection brought last. */
const blockLength = waitingAtMost + 64 * 1024;
/** A consumer that takes nothing for this long loses its connection. */
const stalledAfterMs = 60_000;

/** The text of a query with its values written into it, as COPY needs it: it takes no parameters. */
export function withLiterals(text: string, values: readonly unknown[]): string {
  return text.replace(/\$(\d+)/g, (_, position: string) => literal(values[Number(position) - 1]));
}

function literal(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return pg.escapeLiteral(arrayText(value));
  return pg.escapeLiteral(String(value));
}

/** An array of texts as PostgreSQL reads it. */
export function arrayText(items: readonly unknown[]): string {
  return `{${items.map((item) => `"${String(item).replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}

/** A running COPY TO STDOUT; its rows are taken with `read`. */
export class CopyOut {
  readonly #text: string;
  #stream: Duplex | undefined;
  /** Two in turn, one filled while the other one is read: a million rows in blocks of their own are work for the garbage collector. */
  #block = Buffer.allocUnsafe(blockLength);
  #other = Buffer.allocUnsafe(blockLength);
  #waiting = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #stall: NodeJS.Timeout | undefined;

  /** `format`: as COPY names them. */
  constructor(query: string, format: "text" | "csv" = "text") {
    this.#text = `copy (${query}) to stdout (format ${format})`;
  }

  /** What has come by now, cut anywhere, good until the next read; undefined at the end. Rejects with the database's error. */
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

  /** The driver calls this and the rest. */
  submit(connection: pg.Connection): void {
    this.#stream = connection.stream as Duplex;
    readCopyData(this.#stream, (rows) => this.#take(rows));
    // By the extended protocol, although COPY takes no parameters: a value that broke out of its quotes could not begin a second statement.
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
      this.#stall = setTimeout(() => stream.destroy(new Error("Connection terminated: nobody took the rows")), stalledAfterMs);
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

/** A COPY FROM STDIN of rows that are there already; `ended` rejects with the database's error. */
export class CopyIn {
  readonly #text: string;
  readonly #rows: Buffer;
  readonly ended: Promise<void>;
  /** For the driver, which ends its waiting by the callback. */
  readonly query_timeout: number | undefined;
  callback: (error: Error | null) => void = () => undefined;

  /** `timeoutMs`: after which no answer is waited for any more. */
  constructor(text: string, rows: Buffer, timeoutMs?: number) {
    this.#text = text;
    this.#rows = rows;
    this.query_timeout = timeoutMs;
    this.ended = new Promise((resolve, reject) => {
      this.callback = (error) => (error ? reject(error) : resolve());
    });
  }

  /** The driver calls this and the rest. */
  submit(connection: pg.Connection): void {
    connection.query(this.#text);
    const rows = connection as pg.Connection & CopyInConnection;
    // Without waiting for the answer: the server passes over the rows of a COPY that it has refused.
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

/** What the driver's connection can do and its types do not name. */
interface CopyInConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}
