import { createHash } from "node:crypto";
import { pipeline, type Readable } from "node:stream";
import { isInvisible } from "@cell/http";
import { badField } from "@cell/problem";
import { CsvError, type Parser, parse } from "csv-parse";
import { type Header, itemOf, mostRows, readHeader } from "./domain.ts";
import { decoded, encodingOf } from "./encoding.ts";
import type { ImportColumn } from "./importer.ts";
import { openFilePart } from "./multipart.ts";
import { bytesOf, mostRowBytes, tooManyRows, type Upload, type UploadedRow, type UploadHead } from "./upload.ts";

/** Includes empty lines, which are not rows but take time. */
const mostLines = 2 * mostRows;

/** A streamed CSV file, in a form or as the whole body. */
export async function uploadOfFile(incoming: Readable, head: UploadHead, columns: Readonly<Record<string, ImportColumn>>): Promise<Upload> {
  const bytes = bytesOf(incoming, false);
  const boundary = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(head.contentType);
  if (!boundary && /^multipart/i.test(head.contentType)) throw badField("Content-Type", "INVALID_FORMAT", "has no boundary");
  const part = boundary ? await openFilePart(bytes, boundary[1] ?? boundary[2] ?? "") : { contentType: head.contentType, bytes };
  const encoding = encodingOf(part.contentType, head.charset);
  const digest = createHash("sha256");
  let header: Header | undefined;
  async function* rows(): AsyncGenerator<UploadedRow> {
    for await (const record of recordsOf(decoded(part.bytes, encoding, digest))) {
      if (header) yield rowOf(record, header, columns);
      else header = readHeader(record.cells, columns);
    }
    if (!header) throw badField("file", "REQUIRED", "is empty: its first line must be a header");
  }
  return { rows: rows(), headings: () => header?.headings ?? [], digest: () => digest.digest("hex"), close: () => undefined };
}

function rowOf({ line, cells }: CsvRecord, header: Header, columns: Readonly<Record<string, ImportColumn>>): UploadedRow {
  let characters = 0;
  for (const cell of cells) characters += cell.length;
  return { line, characters, source: () => JSON.stringify(shownCells(cells, header.headings.length)), ...itemOf(cells, header, columns) };
}

/** The cells under the headings; one more if there were values without a heading. */
function shownCells(cells: readonly string[], columns: number): readonly string[] {
  if (cells.length <= columns) return cells;
  const behind = cells.slice(columns).find((cell) => !isInvisible(cell));
  return behind === undefined ? cells.slice(0, columns) : [...cells.slice(0, columns), behind];
}

interface CsvRecord {
  /** Line of its beginning. */
  line: number;
  cells: string[];
}

/** The records of a CSV file that contain anything. The parser skips empty ones at almost no cost. */
async function* recordsOf(source: AsyncIterable<string | Buffer>): AsyncGenerator<CsvRecord> {
  const parser: Parser = parse({
    bom: true,
    relax_column_count: true,
    relax_quotes: true,
    record_delimiter: ["\r\n", "\n", "\r"],
    max_record_size: mostRowBytes,
    skip_empty_lines: true,
    skip_records_with_empty_values: true,
    on_record(cells: string[], { lines }): never {
      // The parser would create an error for each record with another length than the first, and then ignore it.
      (parser.info as { records: number }).records = 0;
      // The parser passes on whatever this returns; its types know arrays of cells alone.
      return { line: lines, cells } satisfies CsvRecord as never;
    },
  });
  // An error of the source ends the parser, and so the iteration.
  pipeline(
    limited(source, () => parser.info.lines),
    parser,
    () => undefined,
  );
  /** The line in which the last record ended. */
  let last = 0;
  /** Line ends of two characters within quotes: the parser counts each twice. */
  let twice = 0;
  try {
    for await (const { line, cells } of parser as AsyncIterable<CsvRecord>) {
      let breaks = 0;
      for (const cell of cells) {
        if (!cell.includes("\n") && !cell.includes("\r")) continue;
        breaks += cell.match(/\r\n|\n|\r/g)?.length ?? 0;
        twice += cell.match(/\r\n/g)?.length ?? 0;
      }
      last = line - twice;
      if (!cells.every(isInvisible)) yield { line: last - breaks, cells };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const fault = error.code === "CSV_MAX_RECORD_SIZE" ? `is longer than ${mostRowBytes} bytes` : "has a quote that is not closed";
    throw badField("file", "INVALID_FORMAT", last === 0 ? `the first row ${fault}` : `the row after line ${last} ${fault}`);
  }
}

/** Number of bytes parsed at once. */
const pieceLength = 16 * 1024;

/** Splits a source into pieces; throws for more lines than a file may have. */
async function* limited(source: AsyncIterable<string | Buffer>, lines: () => number): AsyncGenerator<string | Buffer> {
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += pieceLength) {
      if (lines() > mostLines) throw tooManyRows();
      yield typeof chunk === "string" ? chunk.slice(at, at + pieceLength) : chunk.subarray(at, at + pieceLength);
    }
  }
}
