import { isUtf8 } from "node:buffer";
import { badField, badFields, type FieldProblem, Problem } from "@cell/problem";
import { mostDepth, mostKeys, parseJson } from "./json.ts";

export interface JsonElementsOptions {
  /** The field that holds the array. */
  field: string;
  elementsAtMost: number;
  bytesPerElement: number;
  /** Makes the error for more elements than allowed. */
  tooMany(): Problem;
}

/** Size limit of the object without its array, white space not counted. */
const restBytesAtMost = 64 * 1024;

const [quote, backslash, comma, colon] = [34, 92, 44, 58];
const [openBracket, closeBracket, openBrace, closeBrace] = [91, 93, 123, 125];
const [space, tab, lineFeed, carriageReturn] = [32, 9, 10, 13];
/** A UTF-8 byte order mark at the beginning is skipped. */
const byteOrderMark = [0xef, 0xbb, 0xbf];

/**
 * Reads the elements of one array in a JSON object from a stream of bytes, and parses them one by one as `parseJson` does. A large array
 * never blocks for longer than its largest element takes, and an invalid one is rejected before all of it has arrived. Throws BAD_REQUEST
 * for malformed JSON and for an element with too many bytes, keys or levels.
 */
export class JsonElements {
  readonly #options: JsonElementsOptions;
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = 0;
  /** The start and end offset of each element. */
  #bounds = new Uint32Array(1024);
  #count = 0;
  /** The object without its elements. */
  readonly #rest = Buffer.allocUnsafe(restBytesAtMost);
  #restLength = 0;

  #place: "start" | "object" | "array" | "end" = "start";
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  /** In the object: the next string is a key. */
  #isKeyNext = false;
  /** Start of the key that was read last, within `#rest`. */
  #keyStart = 0;
  #key: string | undefined;
  #isArraySeen = false;
  /** Start of the element being read; -1 between two elements. */
  #start = -1;
  #isElementDue = false;
  #keys = 0;

  constructor(options: JsonElementsOptions) {
    this.#options = options;
  }

  /** Number of elements that have begun. */
  get count(): number {
    return this.#count;
  }

  /** Reads the next bytes of the object. */
  add(chunk: Buffer): void {
    const from = this.#length;
    this.#append(chunk);
    for (let at = from; at < this.#length; at++) {
      const byte = this.#bytes[at] as number;
      if (byte === byteOrderMark[at]) continue;
      if (this.#isInString) {
        // Most bytes are within a string of an element: skip them at once.
        if (this.#place === "array" && !this.#isEscaped && byte !== quote && byte !== backslash) at = this.#stringPart(at);
        else this.#inString(byte);
      } else if (this.#place === "array") this.#inArray(byte, at);
      else this.#inObject(byte);
    }
    if (this.#start >= 0 && this.#length - this.#start > this.#options.bytesPerElement) throw this.#tooLong();
  }

  /** The object without the elements of its array, once all bytes have been added. */
  end(): unknown {
    if (!isUtf8(this.#bytes.subarray(0, this.#length))) throw new Problem("BAD_REQUEST", "The body is not UTF-8");
    return parseJson(this.#rest.toString("utf8", 0, this.#restLength));
  }

  /** The source text of an element. */
  text(index: number): string {
    return this.#bytes.toString("utf8", this.#bounds[2 * index], this.#bounds[2 * index + 1]);
  }

  /** The parsed value of an element; pass its text where it is already known. */
  value(index: number, text = this.text(index)): unknown {
    try {
      return parseJson(text);
    } catch (error) {
      throw error instanceof Problem ? within(`${this.#options.field}.${index}`, error) : error;
    }
  }

  #append(chunk: Buffer): void {
    if (this.#length + chunk.length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#length + chunk.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length += chunk.length;
  }

  /** The last byte from `at` on that cannot end the string. */
  #stringPart(at: number): number {
    const bytes = this.#bytes;
    const length = this.#length;
    let next = at + 1;
    while (next < length && bytes[next] !== quote && bytes[next] !== backslash) next++;
    return next - 1;
  }

  #inString(byte: number): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === backslash) this.#isEscaped = true;
    else if (byte === quote) this.#isInString = false;
    if (this.#place === "array") return;
    this.#keep(byte);
    if (!this.#isInString && this.#isKeyNext) {
      this.#isKeyNext = false;
      this.#key = this.#rest.toString("utf8", this.#keyStart, this.#restLength);
    }
  }

  #inObject(byte: number): void {
    if (isSpace(byte)) {
      // Two tokens that white space separates must not become one.
      if (this.#restLength > 0 && this.#rest[this.#restLength - 1] !== space) this.#keep(space);
      return;
    }
    if (this.#place === "start") {
      if (byte !== openBrace) throw badField("", "INVALID_FORMAT", "must be an object");
      this.#place = "object";
    } else if (this.#place === "end") throw malformed();
    this.#keep(byte);
    const isTop = this.#depth === 1;
    if (byte === quote) {
      this.#isInString = true;
      this.#keyStart = this.#restLength - 1;
    } else if (byte === openBrace || byte === openBracket) {
      if (byte === openBracket && isTop && this.#isArrayNext()) this.#beginArray();
      this.#descend();
      this.#isKeyNext = this.#depth === 1;
    } else if (byte === closeBrace || byte === closeBracket) {
      if (--this.#depth === 0) this.#place = "end";
    } else if (byte === comma && isTop) this.#isKeyNext = true;
    if (byte !== colon && byte !== quote) this.#key = undefined;
  }

  /** Whether the array that begins here is the wanted one: its key was read last. */
  #isArrayNext(): boolean {
    if (this.#key === undefined) return false;
    return this.#key === `"${this.#options.field}"` || (this.#key.includes("\\") && unescaped(this.#key) === this.#options.field);
  }

  #beginArray(): void {
    if (this.#isArraySeen) throw badField(this.#options.field, "REPEATED", "is given more than once");
    this.#isArraySeen = true;
    this.#place = "array";
  }

  #inArray(byte: number, at: number): void {
    if (isSpace(byte)) return;
    if (this.#depth === 2 && (byte === comma || byte === closeBracket)) {
      this.#endElement(byte, at);
      return;
    }
    if (this.#start < 0) this.#beginElement(at);
    if (byte === quote) this.#isInString = true;
    else if (byte === colon) {
      if (++this.#keys > mostKeys) throw badField(this.#here(), "TOO_LONG", `has more than ${mostKeys} keys`);
    } else if (byte === openBrace || byte === openBracket) this.#descend();
    else if ((byte === closeBrace || byte === closeBracket) && --this.#depth < 2) throw malformed(this.#here());
  }

  #beginElement(at: number): void {
    if (this.#count === this.#options.elementsAtMost) throw this.#options.tooMany();
    this.#start = at;
    this.#count++;
    this.#keys = 0;
  }

  #endElement(byte: number, at: number): void {
    if (this.#start >= 0) {
      if (at - this.#start > this.#options.bytesPerElement) throw this.#tooLong();
      this.#bound(at);
    } else if (byte === comma || this.#isElementDue) throw malformed(`${this.#options.field}.${this.#count}`);
    this.#start = -1;
    this.#isElementDue = byte === comma;
    if (byte === comma) return;
    this.#place = "object";
    this.#depth = 1;
    this.#keep(byte);
  }

  #bound(end: number): void {
    const index = 2 * (this.#count - 1);
    if (index === this.#bounds.length) {
      const longer = new Uint32Array(2 * this.#bounds.length);
      longer.set(this.#bounds);
      this.#bounds = longer;
    }
    this.#bounds[index] = this.#start;
    this.#bounds[index + 1] = end;
  }

  #descend(): void {
    if (++this.#depth > mostDepth) throw badField("", "TOO_DEEP", `is nested more than ${mostDepth} levels deep`);
  }

  #keep(byte: number): void {
    if (this.#restLength === restBytesAtMost)
      throw badField("", "TOO_LONG", `may have at most ${restBytesAtMost} bytes beside its ${this.#options.field}`);
    this.#rest[this.#restLength++] = byte;
  }

  #here(): string {
    return `${this.#options.field}.${this.#count - 1}`;
  }

  #tooLong(): Problem {
    return badField(this.#here(), "TOO_LONG", `may have at most ${this.#options.bytesPerElement} bytes`);
  }
}

function isSpace(byte: number): boolean {
  return byte === space || byte === lineFeed || byte === carriageReturn || byte === tab;
}

function unescaped(key: string): string | undefined {
  try {
    return JSON.parse(key) as string;
  } catch {
    return undefined;
  }
}

function malformed(place?: string): Problem {
  return new Problem("BAD_REQUEST", `The body is not well-formed JSON${place === undefined ? "" : `: see ${place}`}`);
}

/** Turns a problem of a part of the body into a problem of the body. */
function within(place: string, problem: Problem): Problem {
  const fields = problem.details?.fields as FieldProblem[] | undefined;
  if (!fields) return malformed(place);
  return badFields(fields.map((field) => ({ ...field, path: field.path === "" ? place : `${place}.${field.path}` })));
}
