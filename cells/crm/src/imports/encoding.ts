import { isUtf8 } from "node:buffer";
import type { Hash } from "node:crypto";
import { Problem } from "@cell/problem";

export type Encoding = "utf-8" | "gbk";

const served = "A file can be in UTF-8, or in GBK (GB2312, GB18030) where charset=gbk says so; save one of any other encoding as UTF-8";
const newline = 10;

/** The encoding by the media type, or by `otherwise` if it has no charset. Throws UNSUPPORTED_MEDIA_TYPE for any other. */
export function encodingOf(contentType: string, otherwise: string | undefined): Encoding {
  const given = (/;\s*charset="?([^\s;"]+)/i.exec(contentType)?.[1] ?? otherwise ?? "utf-8").toLowerCase();
  if (["utf-8", "utf8", "us-ascii"].includes(given)) return "utf-8";
  if (["gbk", "gb2312", "gb18030", "cp936"].includes(given)) return "gbk";
  throw new Problem("UNSUPPORTED_MEDIA_TYPE", served);
}

/** Validates the encoding of a byte stream; gives UTF-8 bytes or text. Throws BAD_REQUEST that names the first invalid place. */
export async function* decoded(bytes: AsyncIterable<Buffer>, encoding: Encoding, digest: Hash): AsyncGenerator<string | Buffer> {
  const reader = encoding === "utf-8" ? new Utf8Check() : new GbkReader();
  for await (const chunk of bytes) {
    digest.update(chunk);
    yield reader.take(chunk);
  }
  reader.end();
}

/** Position in the file, for messages about an invalid byte. */
class Place {
  bytes = 0;
  #lines = 0;

  pass(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#lines += linesIn(chunk);
  }

  /** The line of an offset in the current chunk. */
  lineAt(chunk: Buffer, offset: number): number {
    return this.#lines + linesIn(chunk.subarray(0, Math.max(offset, 0))) + 1;
  }
}

function notIn(encoding: string, where: string): Problem {
  return new Problem("BAD_REQUEST", `The file is not in ${encoding}: see ${where}. ${served}`);
}

function linesIn(chunk: Buffer): number {
  let lines = 0;
  for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) lines++;
  return lines;
}

class Utf8Check {
  readonly #place = new Place();
  /** The incomplete character at the end of the last chunk. */
  #begun: Buffer = Buffer.alloc(0);

  take(chunk: Buffer): Buffer {
    const whole = this.#begun.length === 0 ? chunk : Buffer.concat([this.#begun, chunk]);
    const end = completeLength(whole, whole.length);
    if (!isUtf8(whole.subarray(0, end))) throw this.#problem(whole, firstWrongByte(whole));
    this.#begun = whole.subarray(end);
    this.#place.pass(chunk);
    return chunk;
  }

  end(): void {
    if (this.#begun.length > 0) throw this.#problem(this.#begun, 0);
  }

  /** The problem at an offset of `whole`, which is the incomplete character followed by the current chunk. */
  #problem(whole: Buffer, offset: number): Problem {
    const at = this.#place.bytes - this.#begun.length + offset;
    const byte = whole.toString("hex", offset, offset + 1).toUpperCase();
    return notIn("UTF-8", `byte ${at + 1} (0x${byte}) in line ${this.#place.lineAt(whole, offset)}`);
  }
}

/** The first `length` bytes without an incomplete character at their end. */
function completeLength(bytes: Buffer, length: number): number {
  for (let back = 1; back <= Math.min(3, length); back++) {
    const byte = bytes[length - back] ?? 0;
    if (byte < 0x80) return length;
    if (byte >= 0xc0) {
      const size = byte >= 0xf8 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return size > back ? length - back : length;
    }
  }
  return length;
}

/** Offset of the first invalid character, in bytes that are not valid UTF-8. */
function firstWrongByte(bytes: Buffer): number {
  let good = 0;
  let bad = bytes.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isUtf8(bytes.subarray(0, completeLength(bytes, middle)))) good = middle;
    else bad = middle;
  }
  return completeLength(bytes, good);
}

/** GBK's user-defined characters, and control characters that texts do not have. */
const unassigned = /[\u0080-\u009F\uE000-\uF8FF]/;

class GbkReader {
  readonly #place = new Place();
  readonly #decoder = gbkDecoder();

  take(chunk: Buffer): string {
    const text = decodedStrictly(this.#decoder, chunk, true);
    if (text === undefined) throw notIn("GBK", `line ${this.#place.lineAt(chunk, firstWrongLine(chunk))}`);
    this.#place.pass(chunk);
    return text;
  }

  end(): void {
    const rest = decodedStrictly(this.#decoder, Buffer.alloc(0), false);
    if (rest !== "") throw notIn("GBK", `the end of line ${this.#place.lineAt(Buffer.alloc(0), 0)}`);
  }
}

type Decoder = InstanceType<typeof TextDecoder>;

function gbkDecoder(): Decoder {
  return new TextDecoder("gbk", { fatal: true, ignoreBOM: true });
}

function decodedStrictly(decoder: Decoder, bytes: Buffer, stream: boolean): string | undefined {
  try {
    const text = decoder.decode(bytes, { stream });
    return unassigned.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

/** Start of the chunk's first line that is not valid GBK; the first line if none is found. */
function firstWrongLine(chunk: Buffer): number {
  for (let start = chunk.indexOf(newline) + 1; start > 0; start = chunk.indexOf(newline, start) + 1) {
    const end = chunk.indexOf(newline, start);
    // A character may continue in the next chunk.
    if (decodedStrictly(gbkDecoder(), chunk.subarray(start, end < 0 ? undefined : end), end < 0) === undefined) return start;
  }
  return 0;
}
