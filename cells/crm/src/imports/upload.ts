import { createHash, hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { pipeline, type Readable } from "node:stream";
import { canonicalJson } from "@cell/cell";
import { isInvisible, readJson } from "@cell/http";
import { badField, Problem } from "@cell/problem";
import { CsvError, parse } from "csv-parse";
import { csvCell } from "../csv.ts";
import { type Header, itemOf, mostColumns, mostRows, problem, readHeader } from "./domain.ts";
import { decoded, encodingOf } from "./encoding.ts";
import type { ImportColumn, RowProblem } from "./importer.ts";
import { openFilePart } from "./multipart.ts";

export const mostBytes = 64 * 1024 * 1024;
/** JSON is read whole. */
export const mostJsonBytes = 16 * 1024 * 1024;
/** In all items together; each of them has no more than `mostColumns` different ones. */
const mostJsonKeys = 2_000_000;
const mostRecordBytes = 1024 * 1024;
/** Empty ones included, which are no rows but cost their time. */
const mostLines = 2 * mostRows;

/** A row as it came: its cells in the order of the header, the item that they stand for, and what is wrong with its form. */
export interface UploadedRow {
  line: number | null;
  cells: readonly string[];
  item: Record<string, unknown>;
  problems: RowProblem[];
}

/** A file that is coming in. Its header is known with its first row, its digest with its last. */
export interface Upload {
  rows: AsyncGenerator<UploadedRow>;
  headings(): readonly string[];
  /** SHA-256 of the file, however it was wrapped. */
  digest(): string;
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

/** The body of an import in JSON. Throws BAD_REQUEST and PAYLOAD_TOO_LARGE. */
export async function readJsonUpload(incoming: IncomingMessage): Promise<unknown> {
  return readJson(incoming, mostJsonBytes, mostJsonKeys);
}

/** The items of an import in JSON as an upload; `body` is what a repeat has to equal. */
export function uploadOfItems(items: readonly unknown[], body: unknown): Upload {
  if (items.length > mostRows) throw tooManyRows();
  const isObject = (item: unknown): item is Record<string, unknown> => typeof item === "object" && item !== null && !Array.isArray(item);
  const headings = [...new Set(items.flatMap((item) => (isObject(item) ? Object.keys(item) : [])))];
  if (headings.length > mostColumns) throw badField("items", "TOO_LONG", `may have at most ${mostColumns} different fields`);
  async function* rows(): AsyncGenerator<UploadedRow> {
    for (const given of items) {
      const item = isObject(given) ? given : {};
      const cells = headings.map((heading) => csvText(item[heading]));
      yield { line: null, cells, item, problems: isObject(given) ? [] : [problem(null, "INVALID_FORMAT", "must be an object")] };
    }
  }
  return { rows: rows(), headings: () => headings, digest: () => hash("sha256", canonicalJson(body)) };
}

/** A CSV file as it comes in, in a form or by itself. */
export async function uploadOfFile(incoming: Readable, head: UploadHead, columns: Readonly<Record<string, ImportColumn>>): Promise<Upload> {
  const limited = atMost(bytesOf(incoming), mostBytes);
  const boundary = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(head.contentType);
  if (!boundary && /^multipart/i.test(head.contentType)) throw badField("Content-Type", "INVALID_FORMAT", "names no boundary");
  const part = boundary ? await openFilePart(limited, boundary[1] ?? boundary[2] ?? "") : { contentType: head.contentType, bytes: limited };
  const encoding = encodingOf(part.contentType, head.charset);
  const digest = createHash("sha256");
  let header: Header | undefined;
  async function* rows(): AsyncGenerator<UploadedRow> {
    for await (const { line, cells } of linesOf(decoded(part.bytes, encoding, digest))) {
      if (!header) {
        header = readHeader(cells, columns);
        continue;
      }
      yield { line, cells, ...itemOf(cells, header, columns) };
    }
    if (!header) throw badField("file", "REQUIRED", "is empty: its first line has to name the columns");
  }
  return { rows: rows(), headings: () => header?.headings ?? [], digest: () => digest.digest("hex") };
}

/** The lines of a CSV file that hold anything, and where each begins. */
async function* linesOf(source: AsyncIterable<string | Buffer>): AsyncGenerator<{ line: number; cells: string[] }> {
  const parser = parse({
    bom: true,
    relax_column_count: true,
    relax_quotes: true,
    record_delimiter: ["\r\n", "\n", "\r"],
    max_record_size: mostRecordBytes,
  });
  // What ends the source ends the parser, and so the iteration.
  pipeline(source, parser, () => undefined);
  let line = 1;
  let read = 0;
  try {
    for await (const cells of parser as AsyncIterable<string[]>) {
      if (++read > mostLines) throw tooManyRows();
      if (!cells.every(isInvisible)) yield { line, cells };
      line += 1;
      for (const cell of cells) line += breaksIn(cell);
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const fault = error.code === "CSV_MAX_RECORD_SIZE" ? `is longer than ${mostRecordBytes} bytes` : "has a quote that is not closed";
    throw badField("file", "INVALID_FORMAT", `the row that begins in line ${line} ${fault}`);
  }
}

function breaksIn(cell: string): number {
  if (!cell.includes("\n") && !cell.includes("\r")) return 0;
  return cell.match(/\r\n|\n|\r/g)?.length ?? 0;
}

/** The chunks of a request's body. The answer still has to go the other way, so the connection stays when the reader stops. */
async function* bytesOf(incoming: Readable): AsyncGenerator<Buffer> {
  try {
    yield* incoming.iterator({ destroyOnReturn: false });
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The upload ended before it was complete", { cause });
  }
}

async function* atMost(bytes: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) throw tooLarge();
    yield chunk;
  }
}

/** A value as the cell that stands for it, without the quotes around it. */
function csvText(value: unknown): string {
  const cell = csvCell(value);
  return cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
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
