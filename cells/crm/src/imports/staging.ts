import { trimTexts } from "@cell/http";
import type { Tenant } from "@cell/postgres";
import * as batches from "./batches.ts";
import { bounded, duplicateInFile, mostRows } from "./domain.ts";
import { DuplicateIndex } from "./duplicate-index.ts";
import { FailedRowBudget } from "./failed-rows.ts";
import type { Importer, ReadRow, Row, RowProblem } from "./importer.ts";
import type { Import } from "./repository.ts";
import { Throttle } from "./throttle.ts";
import { tooManyRows, type Upload, type UploadedRow } from "./upload.ts";

/** Rows per batch: other requests on this process and the same records must not wait long. */
const rowsAtOnce = 1_000;
const charactersAtOnce = 1024 * 1024;

/** The staged rows of an upload. */
export interface Staged {
  rows: number;
  /** Number of database rows that they write. */
  writes: number;
  /** Some failed rows are not stored. */
  isTruncated: boolean;
}

/** Validates and stages the rows of an upload as they arrive; holds no connection meanwhile. */
export async function putInStaging(
  tenant: Tenant,
  job: Import,
  importer: Importer,
  upload: Upload,
  requests: () => number,
): Promise<Staged> {
  const staging = new Staging(job, importer);
  const throttle = new Throttle({ requests, chunkMs: 2, pieceMs: 5 });
  let batch = new StagedBatch(1);
  let writing: Promise<unknown> = Promise.resolve();
  // One batch is written while the next one is read and validated.
  const flush = async () => {
    await writing;
    const full = batch;
    writes += full.writes;
    writing = tenant.write((session) => session.commit(undefined, batches.stage(session.tx, job.importId, full), []));
    // The next flush, or the end, reports the error.
    writing.catch(() => undefined);
    batch = new StagedBatch(full.lastRow + 1);
  };
  let writes = 0;
  try {
    for await (const uploaded of upload.rows) {
      if (batch.lastRow === mostRows) throw tooManyRows();
      staging.add(uploaded, batch);
      if (batch.isFull) await flush();
      const rest = throttle.done();
      if (rest) await rest;
    }
    if (batch.lastRow >= batch.firstRow) await flush();
    await writing;
    return { rows: batch.lastRow, writes, isTruncated: staging.failedRows.isTruncated };
  } finally {
    // The caller discards the rows of a failed upload: none may be written after that.
    await writing.catch(() => undefined);
  }
}

class StagedBatch implements batches.UploadedBatch {
  readonly firstRow: number;
  lastRow: number;
  readonly rows: string[] = [];
  readonly cells: string[] = [];
  skipped = 0;
  failed = 0;
  readonly failedRows: string[] = [];
  /** Number of database rows that its rows write. */
  writes = 0;
  #characters = 0;

  constructor(firstRow: number) {
    this.firstRow = firstRow;
    this.lastRow = firstRow - 1;
  }

  /** The number of the next row. */
  count({ characters }: UploadedRow): number {
    this.#characters += characters;
    return ++this.lastRow;
  }

  /** Adds a row to carry out. It is serialized immediately: serializing all rows together would block other requests for milliseconds. */
  add(row: Row<unknown>, { line, source }: UploadedRow, furtherWrites: number): void {
    this.writes += 1 + furtherWrites;
    this.rows.push(JSON.stringify(row));
    this.cells.push(`{"row":${row.row},"line":${line},"cells":${source()}}`);
  }

  get isFull(): boolean {
    return this.lastRow - this.firstRow + 1 >= rowsAtOnce || this.writes >= rowsAtOnce || this.#characters >= charactersAtOnce;
  }
}

/** Decides for each row of an upload whether it is carried out. */
class Staging {
  readonly #job: Import;
  readonly #importer: Importer;
  readonly #names = new DuplicateIndex();
  readonly #ids = new DuplicateIndex();
  readonly failedRows = new FailedRowBudget();
  /** What a row without a field says: each of them the same. */
  #empty: ReadRow<unknown> | undefined;

  constructor(job: Import, importer: Importer) {
    this.#job = job;
    this.#importer = importer;
  }

  add(uploaded: UploadedRow, batch: StagedBatch): void {
    const { options } = this.#job;
    const { item, problems } = uploaded;
    const row = batch.count(uploaded);
    this.failedRows.rowBytes += uploaded.characters;
    const read = item ? this.#read(item) : { problems: [] };
    if ("problems" in read || problems.length > 0) {
      this.#fail(row, "problems" in read ? [...problems, ...read.problems] : problems, uploaded, batch);
      return;
    }
    const repeated = this.#repeated(row, read);
    if (repeated.length === 0) batch.add({ row, data: read.data }, uploaded, read.furtherWrites ?? 0);
    else if (options.onDuplicate === "skip") batch.skipped++;
    else this.#fail(row, repeated, uploaded, batch);
  }

  #read(item: Record<string, unknown>): ReadRow<unknown> {
    const { options, origin } = this.#job;
    const read = () => this.#importer.read(trimTexts(item) as typeof item, options, origin.actor);
    if (!isEmpty(item)) return read();
    // Hundreds of thousands of them are as long as a few thousand rows that say something.
    this.#empty ??= read();
    return this.#empty;
  }

  #fail(row: number, problems: readonly RowProblem[], { line, source }: UploadedRow, batch: StagedBatch): void {
    batch.failed++;
    if (!this.failedRows.hasRoom) return;
    const stored = this.failedRows.take({ row, line, cells: source, errors: bounded(problems) });
    if (stored !== undefined) batch.failedRows.push(stored);
  }

  /** The problem of a row that duplicates an earlier one. */
  #repeated(row: number, { nameKey, idKey }: { nameKey: string | null; idKey: string | null }): RowProblem[] {
    const { keys } = this.#importer;
    const sameName = nameKey === null ? undefined : this.#names.add(nameKey, row);
    const sameId = idKey === null ? undefined : this.#ids.add(idKey, row);
    const problems: RowProblem[] = [];
    if (sameName !== undefined) problems.push(duplicateInFile(keys.name, sameName));
    if (sameId !== undefined) problems.push(duplicateInFile(keys.id, sameId));
    return problems;
  }
}

function isEmpty(item: object): boolean {
  for (const _field in item) return false;
  return true;
}
