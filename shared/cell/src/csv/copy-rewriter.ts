const [comma, lineFeed, carriageReturn, quote, apostrophe] = [0x2c, 0x0a, 0x0d, 0x22, 0x27] as const;
const [open, close, semicolon, dot, plus, zero] = [0x7b, 0x7d, 0x3b, 0x2e, 0x2b, 0x30] as const;
const [letterT, letterZ] = [0x54, 0x5a] as const;

/** The characters that `guard` takes for the beginning of a formula. */
const formulaSigns = marks("=+-@\t\r");
/** The characters that need more than replacing commas in a list. The last one is the first byte of a fullwidth semicolon, among others. */
const listSigns = marks("\"\\;|'=+-@{}\r\n\xEF");

/** More than a cell can grow by a guard, a time or its prefix. */
const slack = 64;
/** Strings up to this length are faster to copy by a loop than by a call. */
const shortLength = 40;

/**
 * How a column's cells are written: unchanged; guarded against formulas; times in RFC 3339; lists separated by `;`; or by a function of the
 * value's text. The function returns the cell, quotes included; null is always an empty cell.
 */
export type CellForm = "plain" | "text" | "time" | "texts" | ((value: string) => string);

export interface RewrittenColumn {
  form: CellForm;
  /** Fallback for values without a fast path, for forms other than `plain` and `text`. */
  otherwise?: (value: string) => string;
  /** Written between the previous cell and this one, or at the line's beginning. */
  before: string;
}

/**
 * Rewrites PostgreSQL's COPY CSV into the API's CSV byte by byte, without a string per row, for millions of rows. Chunks may be split
 * anywhere.
 */
export class CsvRewriter {
  /** Number of rows rewritten so far. */
  rows = 0;
  readonly #columns: readonly { form: CellForm; otherwise: (value: string) => string; before: Buffer }[];
  readonly #after: Buffer;
  readonly #slack: number;
  #column = 0;
  #rest: Buffer | undefined;
  #out: Buffer = Buffer.alloc(0);
  #to = 0;
  /** The chunk as a Latin-1 string: a substring costs less than decoding each cell. */
  #characters: string | undefined;

  /** `after` ends each line. */
  constructor(columns: readonly RewrittenColumn[], after: string) {
    this.#columns = columns.map(({ form, otherwise, before }) => ({
      form,
      otherwise: typeof form === "function" ? form : (otherwise ?? ((value) => value)),
      before: Buffer.from(before),
    }));
    this.#after = Buffer.from(after);
    this.#slack = slack + this.#after.length + Math.max(...columns.map(({ before }) => Buffer.byteLength(before)));
  }

  /** The complete lines so far, valid until the next call; an incomplete rest waits for the next chunk. */
  rewrite(chunk: Buffer): Buffer {
    const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
    // An unquoted cell that begins before this position also ends before it, so that the loops need no bounds check.
    const last = bytes.lastIndexOf(lineFeed);
    this.#to = 0;
    this.#characters = undefined;
    let at = 0;
    let column = this.#column;
    while (at <= last) {
      this.#reserve(bytes.length - at);
      const before = this.#to;
      const end = this.#cell(bytes, at, column);
      if (end < 0) {
        this.#to = before;
        break;
      }
      at = end + 1;
      column++;
      if (bytes[end] === lineFeed) {
        this.#put(this.#after);
        this.rows++;
        column = 0;
      }
    }
    this.#column = column;
    this.#rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : undefined;
    return this.#out.subarray(0, this.#to);
  }

  /** Writes a cell. Returns its end, or -1 if the end has not arrived. */
  #cell(bytes: Buffer, from: number, index: number): number {
    const column = this.#columns[index];
    if (!column) throw new Error(`COPY sent more than ${this.#columns.length} columns`);
    if (column.before.length > 0) this.#put(column.before);
    switch (column.form) {
      case "plain":
        return bytes[from] === quote ? this.#quoted(bytes, from, false) : this.#copied(bytes, from, this.#to);
      case "text":
        if (bytes[from] === quote) return this.#quoted(bytes, from, true);
        return this.#copied(bytes, from, beginsFormula(bytes, from) ? this.#guarded() : this.#to);
      case "time": {
        const end = this.#time(bytes, from);
        return end < 0 ? this.#other(bytes, from, column.otherwise) : end;
      }
      case "texts": {
        const end = this.#texts(bytes, from);
        return end < 0 ? this.#other(bytes, from, column.otherwise) : end;
      }
      default:
        return this.#other(bytes, from, column.otherwise);
    }
  }

  #guarded(): number {
    this.#out[this.#to++] = apostrophe;
    return this.#to;
  }

  /** Copies an unquoted cell to its place in the output. */
  #copied(bytes: Buffer, from: number, place: number): number {
    const out = this.#out;
    let to = place;
    let at = from;
    for (let byte = bytes[at] as number; byte !== comma && byte !== lineFeed; byte = bytes[++at] as number) out[to++] = byte;
    this.#to = to;
    return at;
  }

  /** Copies a quoted cell; the quotes stay if it needs them. */
  #quoted(bytes: Buffer, from: number, guards: boolean): number {
    const out = this.#out;
    const start = this.#to;
    let to = start;
    let at = from + 1;
    let needed = false;
    out[to++] = quote;
    if (guards && beginsFormula(bytes, at)) out[to++] = apostrophe;
    for (; ; at++) {
      if (at + 1 >= bytes.length) return -1;
      const byte = bytes[at] as number;
      if (byte === quote && bytes[++at] !== quote) break;
      if (byte === quote) out[to++] = quote;
      needed ||= byte === quote || byte === comma || byte === lineFeed || byte === carriageReturn;
      out[to++] = byte;
    }
    if (needed) out[to++] = quote;
    else out.copyWithin(start, start + 1, to--);
    this.#to = to;
    return at;
  }

  /** Writes `2026-11-21 08:00:00.5+00` as `2026-11-21T08:00:00.500Z`. Returns -1 for any other form. */
  #time(bytes: Buffer, from: number): number {
    const out = this.#out;
    let to = this.#to;
    let at = from;
    for (const whole = from + 19; at < whole; at++) {
      const byte = bytes[at] as number;
      if (byte === comma || byte === lineFeed || byte === quote) return -1;
      out[to++] = byte;
    }
    out[to - 9] = letterT;
    out[to++] = dot;
    const fraction = to;
    if (bytes[at] === dot) {
      for (at++; isDigit(bytes[at] as number); at++) if (to < fraction + 3) out[to++] = bytes[at] as number;
    }
    while (to < fraction + 3) out[to++] = zero;
    out[to++] = letterZ;
    if (bytes[at] !== plus || bytes[at + 1] !== zero || bytes[at + 2] !== zero || !endsCell(bytes[at + 3])) return -1;
    this.#to = to;
    return at + 3;
  }

  /** Writes `{plain,words}` as `plain;words`. Returns -1 for any other form. */
  #texts(bytes: Buffer, from: number): number {
    const out = this.#out;
    let to = this.#to;
    const isQuoted = bytes[from] === quote;
    let at = isQuoted ? from + 1 : from;
    if (bytes[at++] !== open) return -1;
    for (; ; at++) {
      const byte = bytes[at];
      if (byte === undefined || listSigns[byte] === 1) break;
      out[to++] = byte === comma ? semicolon : byte;
    }
    if (bytes[at++] !== close || (isQuoted && bytes[at++] !== quote) || !endsCell(bytes[at])) return -1;
    this.#to = to;
    return at;
  }

  /** Writes a cell by a function of its value. */
  #other(bytes: Buffer, from: number, write: (value: string) => string): number {
    let at = from;
    if (bytes[from] !== quote) {
      let union = 0;
      for (let byte = bytes[at] as number; byte !== comma && byte !== lineFeed; byte = bytes[++at] as number) union |= byte;
      if (at === from) return at;
      if (union >= 0x80) this.#write(write(bytes.toString("utf8", from, at)), bytes.length - from);
      else {
        this.#characters ??= bytes.toString("latin1");
        this.#write(write(this.#characters.slice(from, at)), bytes.length - from);
      }
      return at;
    }
    for (at++; ; at++) {
      if (at + 1 >= bytes.length) return -1;
      if (bytes[at] === quote && bytes[++at] !== quote) break;
    }
    this.#write(write(bytes.toString("utf8", from + 1, at - 1).replaceAll('""', '"')), bytes.length - from);
    return at;
  }

  #write(text: string, left: number): void {
    if (text.length <= shortLength) {
      const out = this.#out;
      let to = this.#to;
      let union = 0;
      for (let index = 0; index < text.length; index++) {
        const code = text.charCodeAt(index);
        union |= code;
        out[to++] = code;
      }
      if (union < 0x80) {
        this.#to = to;
        return;
      }
    }
    this.#reserve(3 * text.length + left);
    this.#to += this.#out.write(text, this.#to);
  }

  #put(bytes: Buffer): void {
    const out = this.#out;
    let to = this.#to;
    for (let index = 0; index < bytes.length; index++) out[to++] = bytes[index] as number;
    this.#to = to;
  }

  /** Ensures room for this many bytes and their growth. */
  #reserve(length: number): void {
    if (this.#out.length - this.#to >= length + this.#slack) return;
    const larger = Buffer.allocUnsafe(this.#to + length + (length >> 2) + 4 * this.#slack);
    this.#out.copy(larger, 0, 0, this.#to);
    this.#out = larger;
  }
}

function beginsFormula(bytes: Buffer, from: number): boolean {
  let at = from;
  while (bytes[at] === apostrophe) at++;
  return formulaSigns[bytes[at] ?? 0] === 1;
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte < zero + 10;
}

function endsCell(byte: number | undefined): boolean {
  return byte === comma || byte === lineFeed;
}

function marks(characters: string): Uint8Array {
  const marked = new Uint8Array(256);
  for (const character of characters) marked[character.charCodeAt(0)] = 1;
  return marked;
}
