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

/** Empty ones included, which are no rows but cost their time. */
const mostLines = 2 * mostRows;

/** A CSV file as it comes in, in a form or by itself. */
export async function uploadOfFile(incoming: Readable, head: UploadHead, columns: Readonly<Record<string, ImportColumn>>): Promise<Upload> {
  const bytes = bytesOf(incoming, false);
  const boundary = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(head.contentType);
  if (!boundary && /^multipart/i.test(head.contentType)) throw badField("Content-Type", "INVALID_FORMAT", "names no boundary");
  const part = boundary ? await openFilePart(bytes, boundary[1] ?? boundary[2] ?? "") : { contentType: head.contentType, bytes };
  const encoding = encodingOf(part.contentType, head.charset);
  const digest = createHash("sha256");
  let header: Header | undefined;
  async function* rows(): AsyncGenerator<UploadedRow> {
    for await (const record of recordsOf(decoded(part.bytes, encoding, digest))) {
      if (header) yield rowOf(record, header, columns);
      else header = readHeader(record.cells, columns);
    }
    if (!header) throw badField("file", "REQUIRED", "is empty: its first line has to name the columns");
  }
  return { rows: rows(), headings: () => header?.headings ?? [], digest: () => digest.digest("hex"), close: () => undefined };
}

function rowOf({ line, cells }: CsvRecord, header: Header, columns: Readonly<Record<string, ImportColumn>>): UploadedRow {
  let characters = 0;
  for (const cell of cells) characters += cell.length;
  return { line, characters, source: () => JSON.stringify(shownCells(cells, header.headings.length)), ...itemOf(cells, header, columns) };
}

/** The cells under the headings; one more tells that there were values behind them. */
function shownCells(cells: readonly string[], columns: number): readonly string[] {
  if (cells.length <= columns) return cells;
  const behind = cells.slice(columns).find((cell) => !isInvisible(cell));
  return behind === undefined ? cells.slice(0, columns) : [...cells.slice(0, columns), behind];
}

interface CsvRecord {
  /** Where it begins. */
  line: number;
  cells: string[];
}

/** The records of a CSV file that hold anything. What holds nothing is passed over by the parser, for next to nothing. */
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
      // For each record of another length than its first one the parser would make an error, only to ignore it.
      (parser.info as { records: number }).records = 0;
      // The parser passes on whatever this returns; its types know arrays of cells alone.
      return { line: lines, cells } satisfies CsvRecord as never;
    },
  });
  // What ends the source ends the parser, and so the iteration.
  pipeline(
    limited(source, () => parser.info.lines),
    parser,
    () => undefined,
  );
  /** The line in which the last record ended. */
  let last = 0;
  /** Line ends of two characters within quotes, each of which the parser counts twice. */
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

/** How much is parsed at once. */
const pieceLength = 16 * 1024;

/** A source in pieces, as long as it has no more lines than a file may have. */
async function* limited(source: AsyncIterable<string | Buffer>, lines: () => number): AsyncGenerator<string | Buffer> {
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += pieceLength) {
      if (lines() > mostLines) throw tooManyRows();
      yield typeof chunk === "string" ? chunk.slice(at, at + pieceLength) : chunk.subarray(at, at + pieceLength);
    }
  }
}
