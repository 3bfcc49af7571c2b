/** The head of a response: status, header names in lower case and values alternating, and the framing of its body. */
export interface ResponseHead {
  status: number;
  headers: string[];
  /** Size of the body in bytes; undefined for a chunked one. */
  length: number | undefined;
  /** The connection ends with this response. */
  closes: boolean;
  /** How long the cell keeps the connection open without a request, in ms; undefined if it does not say. */
  idleMs: number | undefined;
}

const statusLine = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?$/;
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern looks for them
const badValue = /[\x00-\x08\x0a-\x1f\x7f]/;

/**
 * Parses the head of a response, given without its closing empty line. `bodiless`: the request was a HEAD.
 * Throws an Error for anything that is not strictly HTTP/1.1, and for a body without a length: our cells send neither.
 */
export function readHead(text: string, bodiless: boolean): ResponseHead {
  let end = lineEnd(text, 0);
  const [, minor, code] = statusLine.exec(text.slice(0, end)) ?? [];
  if (code === undefined) throw new Error("not a status line");
  const status = Number(code);
  const headers: string[] = [];
  let length: string | undefined;
  let chunked = false;
  let closes = minor === "0";
  let idleMs: number | undefined;
  while (end < text.length) {
    const start = end + 2;
    end = lineEnd(text, start);
    const colon = text.indexOf(":", start);
    const name = text.slice(start, colon).toLowerCase();
    const value = text.slice(colon + 1, end).trim();
    if (colon < 0 || colon > end || !headerName.test(name) || badValue.test(value)) throw new Error("not a header line");
    headers.push(name, value);
    if (name === "content-length") {
      if (length !== undefined || !/^\d{1,15}$/.test(value)) throw new Error("not a Content-Length");
      length = value;
    } else if (name === "transfer-encoding") {
      if (chunked || value.toLowerCase() !== "chunked") throw new Error("not a known Transfer-Encoding");
      chunked = true;
    } else if (name === "connection") {
      closes ||= /\bclose\b/i.test(value);
    } else if (name === "keep-alive") {
      const seconds = /\btimeout=(\d{1,6})\b/.exec(value)?.[1];
      idleMs = seconds === undefined ? undefined : Number(seconds) * 1000;
    }
  }
  if (chunked && length !== undefined) throw new Error("two lengths");
  const isEmpty = bodiless || status < 200 || status === 204 || status === 304;
  if (!isEmpty && !chunked && length === undefined) throw new Error("a body without a length");
  return { status, headers, length: isEmpty ? 0 : chunked ? undefined : Number(length), closes, idleMs };
}

function lineEnd(text: string, from: number): number {
  const found = text.indexOf("\r\n", from);
  return found < 0 ? text.length : found;
}

type ChunkState = "size" | "data" | "dataEnd" | "trailer" | "end";

/** Decodes a chunked body; trailers are dropped. */
export class Dechunker {
  #state: ChunkState = "size";
  #line = "";
  #left = 0;

  /** True once the body has ended. */
  get ended(): boolean {
    return this.#state === "end";
  }

  /** Passes the data in a piece of the body to `take`; returns the number of consumed bytes. Throws an Error for bad framing. */
  read(piece: Buffer, take: (data: Buffer) => void): number {
    let at = 0;
    while (at < piece.length && this.#state !== "end") {
      if (this.#state === "data") {
        const data = piece.subarray(at, at + this.#left);
        at += data.length;
        this.#left -= data.length;
        if (this.#left === 0) this.#state = "dataEnd";
        take(data);
      } else {
        const newline = piece.indexOf(10, at);
        const end = newline < 0 ? piece.length : newline + 1;
        this.#line += piece.toString("latin1", at, end);
        at = end;
        if (this.#line.length > 1_024) throw new Error("a line without an end");
        if (newline >= 0) this.#endLine();
      }
    }
    return at;
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = "";
    if (!line.endsWith("\r\n")) throw new Error("a bare line feed");
    if (this.#state === "size") {
      const size = /^([0-9a-f]{1,8})(?:;[^\r\n]*)?\r\n$/i.exec(line)?.[1];
      if (size === undefined) throw new Error("not the size of a chunk");
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    } else if (this.#state === "dataEnd") {
      if (line !== "\r\n") throw new Error("a chunk longer than its size");
      this.#state = "size";
    } else if (line === "\r\n") {
      this.#state = "end";
    }
  }
}
