import pg from "pg";

/** Bytes that may wait for the consumer before the database is made to wait. */
const waitingAtMost = 1024 * 1024;
/** A consumer that takes nothing for this long loses its connection. */
const stalledAfterMs = 60_000;

/** The text of a query with its values written into it, as COPY needs it: it takes no parameters. */
export function withLiterals(text: string, values: readonly unknown[]): string {
  return text.replace(/\$(\d+)/g, (_, position: string) => literal(values[Number(position) - 1]));
}

function literal(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return pg.escapeLiteral(`{${value.map((item) => `"${String(item).replace(/["\\]/g, "\\$&")}"`).join(",")}}`);
  return pg.escapeLiteral(String(value));
}

/** A running COPY TO STDOUT; its rows are taken with `read`. */
export class CopyOut {
  readonly #text: string;
  #connection: pg.Connection | undefined;
  #chunks: Buffer[] = [];
  #waiting = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #stall: NodeJS.Timeout | undefined;

  constructor(query: string) {
    this.#text = `copy (${query}) to stdout (format text, header true)`;
  }

  /** What has come by now, in whole rows; undefined at the end. */
  async read(): Promise<string | undefined> {
    while (this.#chunks.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#error) throw this.#error;
    if (this.#chunks.length === 0) return undefined;
    const rows = Buffer.concat(this.#chunks).toString();
    this.#chunks = [];
    this.#waiting = 0;
    clearTimeout(this.#stall);
    this.#connection?.stream.resume();
    return rows;
  }

  /** The driver calls this and the rest. */
  submit(connection: pg.Connection): void {
    this.#connection = connection;
    connection.query(this.#text);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    // The driver writes what comes next over it: a view of its buffer would not wait for a slow consumer.
    this.#chunks.push(Buffer.from(chunk));
    const before = this.#waiting;
    this.#waiting += chunk.length;
    const stream = this.#connection?.stream;
    if (before <= waitingAtMost && this.#waiting > waitingAtMost && stream) {
      stream.pause();
      this.#stall = setTimeout(() => stream.destroy(new Error("Connection terminated: nobody took the rows")), stalledAfterMs);
    }
    this.#proceed();
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

const escapes: Record<string, string> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** A cell of COPY's text format as a value. */
export function copiedText(cell: string): string | null {
  if (cell === "\\N") return null;
  return cell.includes("\\") ? cell.replace(/\\([\s\S])/g, (_, letter: string) => escapes[letter] ?? letter) : cell;
}
