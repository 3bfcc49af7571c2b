import type { Readable } from "node:stream";
import { Problem } from "@cell/problem";
import { mostRows } from "./domain.ts";
import type { RowProblem } from "./importer.ts";

export const mostBytes = 64 * 1024 * 1024;
/** JSON is kept in memory until its rows have been put aside: what comes behind the items says how they are to be taken. */
export const mostJsonBytes = 16 * 1024 * 1024;
/** Of one record of a CSV file, and of one item in JSON. */
export const mostRowBytes = 1024 * 1024;

/** A row as it came. */
export interface UploadedRow {
  /** Where it begins in the file; null for JSON. */
  line: number | null;
  /** How long it is. */
  characters: number;
  /** JSON: its cells in the order of the header, or the item itself. */
  source(): string;
  /** What it says; undefined where that is no item at all. */
  item: Record<string, unknown> | undefined;
  /** What is wrong with its form. */
  problems: readonly RowProblem[];
}

/** A file that is coming in. Its header is known with its first row, its digest with its last. */
export interface Upload {
  rows: AsyncGenerator<UploadedRow>;
  headings(): readonly string[];
  /** SHA-256 of the file, however it was wrapped. */
  digest(): string;
  /** Lets go of what it holds: its rows have been read, or will not be. */
  close(): void;
}

export interface UploadHead {
  contentType: string;
  contentEncoding: string | undefined;
  contentLength: number;
  /** Of a file whose media type does not tell. */
  charset: string | undefined;
}

const types = ["application/json", "text/csv", "multipart/form-data"] as const;

/** The media type of an upload. Throws UNSUPPORTED_MEDIA_TYPE and PAYLOAD_TOO_LARGE by what the head says. */
export function uploadType({ contentType, contentEncoding, contentLength }: UploadHead): (typeof types)[number] {
  const given = contentType.split(";")[0]?.trim().toLowerCase();
  const type = types.find((known) => known === given);
  if (!type || (type === "application/json" && !/^[^;]*(;\s*charset="?utf-8"?\s*)?$/i.test(contentType))) {
    throw new Problem(
      "UNSUPPORTED_MEDIA_TYPE",
      "Send application/json in UTF-8, text/csv, or multipart/form-data with a CSV file in the field `file`",
    );
  }
  if (contentEncoding !== undefined) throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the file without Content-Encoding");
  if (contentLength > mostBytes) throw tooLarge();
  if (type === "application/json" && contentLength > mostJsonBytes) throw jsonTooLarge();
  return type;
}

/** The chunks of a request's body, of so many bytes at most. */
export function bytesOf(incoming: Readable, isJson: boolean): AsyncGenerator<Buffer> {
  return isJson ? atMost(chunksOf(incoming), mostJsonBytes, jsonTooLarge) : atMost(chunksOf(incoming), mostBytes, tooLarge);
}

/** The answer still has to go the other way, so the connection stays when the reader stops. */
async function* chunksOf(incoming: Readable): AsyncGenerator<Buffer> {
  try {
    yield* incoming.iterator({ destroyOnReturn: false });
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The upload ended before it was complete", { cause });
  }
}

async function* atMost(bytes: AsyncIterable<Buffer>, limit: number, excess: () => Problem): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) throw excess();
    yield chunk;
  }
}

function tooLarge(): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `The file may have at most ${mostBytes} bytes`);
}

function jsonTooLarge(): Problem {
  return new Problem(
    "PAYLOAD_TOO_LARGE",
    `JSON may have at most ${mostJsonBytes} bytes; send more than that as CSV, up to ${mostBytes} bytes`,
  );
}

export function tooManyRows(): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `An import may have at most ${mostRows} rows`);
}
