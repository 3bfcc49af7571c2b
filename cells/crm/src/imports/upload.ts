import type { Readable } from "node:stream";
import { Problem } from "@cell/problem";
import { mostRows } from "./domain.ts";
import type { RowProblem } from "./importer.ts";

export const mostBytes = 64 * 1024 * 1024;
/** JSON is in memory until its rows are staged: the options may come after the items. */
export const mostJsonBytes = 16 * 1024 * 1024;
/** Size limit of one CSV record or JSON item. */
export const mostRowBytes = 1024 * 1024;

/** An uploaded row. */
export interface UploadedRow {
  /** Line of its beginning in the file; null for JSON. */
  line: number | null;
  /** Its length. */
  characters: number;
  /** JSON: its cells in the order of the header, or the item itself. */
  source(): string;
  /** Its fields; undefined if it is not an item. */
  item: Record<string, unknown> | undefined;
  /** Problems of its form. */
  problems: readonly RowProblem[];
}

/** A streamed upload. Its header is known with its first row, its digest after its last. */
export interface Upload {
  rows: AsyncGenerator<UploadedRow>;
  headings(): readonly string[];
  /** SHA-256 of the file, without its form. */
  digest(): string;
  /** Releases resources, after the rows were read or will not be read. */
  close(): void;
}

export interface UploadHead {
  contentType: string;
  contentEncoding: string | undefined;
  contentLength: number;
  /** The encoding of a file whose media type has no charset. */
  charset: string | undefined;
}

const types = ["application/json", "text/csv", "multipart/form-data"] as const;

/** The media type of an upload. Throws UNSUPPORTED_MEDIA_TYPE and PAYLOAD_TOO_LARGE by the request's head. */
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

/** The chunks of a request's body, up to the size limit. */
export function bytesOf(incoming: Readable, isJson: boolean): AsyncGenerator<Buffer> {
  return isJson ? atMost(chunksOf(incoming), mostJsonBytes, jsonTooLarge) : atMost(chunksOf(incoming), mostBytes, tooLarge);
}

/** The connection stays open when the reader stops: it still carries the response. */
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
