import { compactJson, copyBytes } from "./json-compact.ts";

const [quote, comma, backslash, plus, dot, zero] = [0x22, 0x2c, 0x5c, 0x2b, 0x2e, 0x30] as const;
const [openBrace, openBracket, closeBracket] = [0x7b, 0x5b, 0x5d] as const;
const [letterN, letterT, letterZ, firstVisible, lastAscii] = [0x4e, 0x54, 0x5a, 0x20, 0x7e] as const;

/** Length of `2026-11-21 08:00:00`, PostgreSQL's time without its fraction. */
const secondsLength = 19;
const usualLength = 256 * 1024;

/** Maximum growth per byte: a control character becomes six bytes of JSON. */
export const mostForOne = 6;

/**
 * How PostgreSQL's bytes become JSON: unchanged, without white space, as a string, as an array of strings, as a time in RFC 3339, or by
 * their parser's value.
 */
export type Form = "plain" | "json" | "text" | "texts" | "time" | "parsed";

/** Writes JSON as bytes. Callers `reserve` room first, unless a method says otherwise. */
export class JsonWriter {
  #out = Buffer.allocUnsafeSlow(usualLength);
  #to = 0;

  begin(): void {
    this.#to = 0;
  }

  /** The written text, as Latin-1. */
  end(): string {
    const written = this.#out.toString("latin1", 0, this.#to);
    if (this.#out.length > usualLength) this.#out = Buffer.allocUnsafeSlow(usualLength);
    return written;
  }

  /** Ensures room for this many more bytes. */
  reserve(length: number): void {
    if (this.#to + length <= this.#out.length) return;
    const grown = Buffer.allocUnsafeSlow(2 * (this.#to + length));
    grown.set(this.#out.subarray(0, this.#to));
    this.#out = grown;
  }

  bytes(bytes: Buffer): void {
    this.#out.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  /** Appends a JSON text of any length. */
  encoded(text: string): void {
    this.reserve(3 * text.length);
    this.#to += this.#out.write(text, this.#to);
  }

  string(text: string): void {
    const out = this.#out;
    let to = this.#to;
    out[to++] = quote;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code < firstVisible || code > lastAscii || code === quote || code === backslash) {
        this.encoded(JSON.stringify(text));
        return;
      }
      out[to++] = code;
    }
    out[to++] = quote;
    this.#to = to;
  }

  /** Writes a value in its form. False, with nothing written, if it has to be parsed. */
  value(form: Form, bytes: Buffer, from: number, length: number): boolean {
    switch (form) {
      case "plain":
        this.#to = copyBytes(bytes, from, from + length, this.#out, this.#to);
        return true;
      case "json":
        return this.#json(bytes, from, from + length);
      case "text":
        return this.#text(bytes, from, from + length);
      case "texts":
        return this.#texts(bytes, from, from + length);
      case "time":
        return this.#time(bytes, from, from + length);
      case "parsed":
        return false;
    }
  }

  #json(bytes: Buffer, from: number, end: number): boolean {
    const to = compactJson(bytes, from, end, this.#out, this.#to);
    if (to < 0) return false;
    this.#to = to;
    return true;
  }

  /** Writes a string if it has nothing that JSON escapes. */
  #text(bytes: Buffer, from: number, end: number): boolean {
    const out = this.#out;
    let to = this.#to;
    out[to++] = quote;
    for (let at = from; at < end; at++) {
      const byte = bytes[at] as number;
      if (byte < firstVisible || byte === quote || byte === backslash) return false;
      out[to++] = byte;
    }
    out[to++] = quote;
    this.#to = to;
    return true;
  }

  /** Writes an array of texts, `{vip,"a \\"b\\", c"}`: PostgreSQL's escapes in it are the same as JSON's. */
  #texts(bytes: Buffer, from: number, end: number): boolean {
    const out = this.#out;
    const last = end - 1;
    let to = this.#to;
    if (bytes[from] !== openBrace) return false;
    out[to++] = openBracket;
    for (let at = from + 1; at < last; at++) {
      if (at > from + 1) out[to++] = comma;
      out[to++] = quote;
      const isQuoted = bytes[at] === quote;
      // Without quotes, a brace begins a nested array, and NULL is not a text.
      if (bytes[at] === openBrace || bytes[at] === letterN) return false;
      if (isQuoted) at++;
      for (const closing = isQuoted ? quote : comma; at < last && bytes[at] !== closing; at++) {
        const byte = bytes[at] as number;
        if (byte < firstVisible) return false;
        out[to++] = byte;
        if (byte === backslash) out[to++] = bytes[++at] as number;
      }
      if (isQuoted) at++;
      out[to++] = quote;
    }
    out[to++] = closeBracket;
    this.#to = to;
    return true;
  }

  /** Writes a time of a session in UTC, `2026-11-21 08:00:00.5+00`, with milliseconds. */
  #time(bytes: Buffer, from: number, end: number): boolean {
    const seconds = from + secondsLength;
    const zone = end - 3;
    const isFraction = bytes[seconds] === dot;
    if (bytes[zone] !== plus || bytes[zone + 1] !== zero || bytes[zone + 2] !== zero || !(isFraction || zone === seconds)) return false;
    const out = this.#out;
    const day = this.#to + 1;
    out[day - 1] = quote;
    let to = copyBytes(bytes, from, seconds, out, day);
    out[day + 10] = letterT;
    out[to++] = dot;
    for (let digit = seconds + 1; digit <= seconds + 3; digit++) out[to++] = digit < zone ? (bytes[digit] as number) : zero;
    out[to++] = letterZ;
    out[to++] = quote;
    this.#to = to;
    return true;
  }
}
