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

/** Rows of one batch: as many as are carried out before others on this process and on the same records have waited long. */
const rowsAtOnce = 1_000;
const charactersAtOnce = 1024 * 1024;

/** What was put aside of an upload. */
export interface Staged {
  rows: number;
  /** Number of database rows that they write. */
  writes: number;
  /** Some that failed are not kept. */
  isTruncated: boolean;
}

/** Checks the rows of an upload and puts them aside as they come; no connection is held meanwhile. */
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
  // One batch is written while the next one is read and checked.
  const flush = async () => {
    await writing;
    const full = batch;
    writes += full.writes;
    writing = tenant.write((session) => session.commit(undefined, batches.stage(session.tx, job.importId, full), []));
    // Told by the next flush, or at the end.
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
    // Who discards the rows of a refused upload must find all of them.
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

  /** The number of one more row. */
  count({ characters }: UploadedRow): number {
    this.#characters += characters;
    return ++this.lastRow;
  }

  /** Takes a row that is to be carried out. As JSON at once: for all rows together, others would wait for milliseconds. */
  add(row: Row<unknown>, { line, source }: UploadedRow, furtherWrites: number): void {
    this.writes += 1 + furtherWrites;
    this.rows.push(JSON.stringify(row));
    this.cells.push(`{"row":${row.row},"line":${line},"cells":${source()}}`);
  }

  get isFull(): boolean {
    return this.lastRow - this.firstRow + 1 >= rowsAtOnce || this.writes >= rowsAtOnce || this.#characters >= charactersAtOnce;
  }
}

/** Finds out of each row of one upload whether it is to be carried out. */
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

  /** What is wrong with a row whose like came before it. */
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
