import { hash } from "node:crypto";
import type { Tenant } from "@cell/postgres";
import { mostRows } from "./domain.ts";
import type { Importer } from "./importer.ts";
import * as imports from "./repository.ts";
import { tooManyRows, type Upload, type UploadedRow } from "./upload.ts";

const rowsAtOnce = 1_000;
const charactersAtOnce = 1024 * 1024;

/** Checks the rows of an upload and puts them aside as they come; no connection is held meanwhile. Resolves to how many there are. */
export async function stage(tenant: Tenant, job: imports.Import, importer: Importer, upload: Upload): Promise<number> {
  let batch: imports.StagedRow[] = [];
  let characters = 0;
  let total = 0;
  let writing: Promise<unknown> = Promise.resolve();
  // One batch is written while the next one is read and checked.
  const flush = async () => {
    await writing;
    const rows = batch;
    writing = tenant.write((session) => session.commit(undefined, [imports.stage(session.tx, job.importId, rows)], []));
    // Told by the next flush, or at the end.
    writing.catch(() => undefined);
    batch = [];
    characters = 0;
  };
  try {
    for await (const uploaded of upload.rows) {
      total++;
      if (total > mostRows) throw tooManyRows();
      batch.push(stagedRow(total, uploaded, job, importer));
      for (const cell of uploaded.cells) characters += cell.length;
      if (batch.length >= rowsAtOnce || characters >= charactersAtOnce) await flush();
    }
    if (batch.length > 0) await flush();
    await writing;
    return total;
  } finally {
    // Who discards the rows of a refused upload must find all of them.
    await writing.catch(() => undefined);
  }
}

function stagedRow(row: number, { line, cells, item, problems }: UploadedRow, job: imports.Import, importer: Importer): imports.StagedRow {
  const read = importer.read(item, job.options, job.origin.actor);
  const errors = "problems" in read ? [...problems, ...read.problems] : problems;
  if ("problems" in read || errors.length > 0) {
    return { row, line, nameKey: null, idKey: null, valid: false, data: null, cells: cells.map(storable), errors };
  }
  return { row, line, nameKey: digest(read.nameKey), idKey: digest(read.idKey), valid: true, data: read.data, cells, errors: null };
}

/** A cell that is only kept to be shown again; PostgreSQL stores no NUL. */
function storable(cell: string): string {
  return cell.includes("\0") ? cell.replaceAll("\0", "\uFFFD") : cell;
}

/** Of one length, whatever the key's: an index takes no long ones. */
function digest(key: string | null): string | null {
  return key && hash("sha256", key, "base64url").slice(0, 22);
}
