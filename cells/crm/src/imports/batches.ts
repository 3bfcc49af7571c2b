import { type Parameters, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import type { Row, RowProblem } from "./importer.ts";

/** Rows of an upload that are put aside together, and later carried out together. */
export interface UploadedBatch {
  firstRow: number;
  lastRow: number;
  /** Those that are to be carried out, each a `Row` in JSON. */
  rows: readonly string[];
  /** Their cells as they came, each a `CellsOfRow` in JSON. */
  cells: readonly string[];
  /** How many others are left out because their like came before them. */
  skipped: number;
  /** The others: they fail whatever is stored already. */
  failures: readonly Failure[];
}

/** The cells of a row, in the order of the header, and where it begins in the file; null for JSON. */
export interface CellsOfRow {
  row: number;
  line: number | null;
  cells: readonly string[];
}

/** A row with what is wrong with it. */
export interface Failure extends CellsOfRow {
  errors: readonly RowProblem[];
}

/** A batch as it is carried out. */
export interface Batch {
  firstRow: number;
  lastRow: number;
  skipped: number;
  failed: number;
  rows: Row<unknown>[];
}

// Planned afresh at each run: rows appear faster than the statistics that a kept plan rests on.
const once = { keep: false };

const insertBatch = statement(
  (
    p: Parameters<{
      importId: string;
      firstRow: number;
      lastRow: number;
      skipped: number;
      failed: number;
      rows: string;
      cells: string;
    }>,
  ) => db.insertInto("importBatches").values(valuesOf(p, ["importId", "firstRow", "lastRow", "skipped", "failed", "rows", "cells"])),
);

const insertFailures = statement((p: Parameters<{ importId: string; byItself: boolean; failures: string }>) =>
  db
    .insertInto("importFailures")
    .columns(["importId", "byItself", "row", "line", "cells", "errors"])
    .expression(
      sql`select ${p.importId}::uuid, ${p.byItself}::boolean, given.* from json_to_recordset(${p.failures}::json)
        as given("row" int, "line" int, "cells" json, "errors" json)`,
    ),
);

const batchAfter = statement((p: Parameters<{ importId: string; after: number }>) =>
  db
    .selectFrom("importBatches")
    .select(["firstRow", "lastRow", "skipped", "failed", "rows"])
    .where("importId", "=", p.importId)
    .where("firstRow", ">", p.after)
    .orderBy("firstRow")
    .limit(1),
);

const cellsOf = statement((p: Parameters<{ importId: string; firstRow: number }>) =>
  db.selectFrom("importBatches").select("cells").where("importId", "=", p.importId).where("firstRow", "=", p.firstRow),
);

const clearFailures = statement((p: Parameters<{ importId: string }>) =>
  db.deleteFrom("importFailures").where("importId", "=", p.importId).where("byItself", "=", false),
);

const firstFailures = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .selectFrom("importFailures")
      .select(["row", "line", "errors"])
      .$castTo<{ row: number; line: number | null; errors: RowProblem[] }>()
      .where("importId", "=", p.importId)
      .orderBy("row")
      .limit(p.limit),
  once,
);

const allFailures = statement(
  (p: Parameters<{ importId: string }>) =>
    db
      .selectFrom("importFailures")
      .select(["cells", "errors"])
      .$castTo<{ cells: string[]; errors: RowProblem[] }>()
      .where("importId", "=", p.importId)
      .orderBy("row"),
  once,
);

const deleteBatches = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .deleteFrom("importBatches")
      .where(
        sql<boolean>`(import_id, first_row) in (${db.selectFrom("importBatches").select(["importId", "firstRow"]).where("importId", "=", p.importId).limit(p.limit)})`,
      )
      .returning("firstRow"),
  once,
);

const deleteFailures = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .deleteFrom("importFailures")
      .where(
        sql<boolean>`(import_id, row) in (${db.selectFrom("importFailures").select(["importId", "row"]).where("importId", "=", p.importId).limit(p.limit)})`,
      )
      .returning("row"),
  once,
);

/** Puts rows of an upload aside. */
export function stage(tx: TenantTx, importId: string, { firstRow, lastRow, rows, cells, skipped, failures }: UploadedBatch) {
  const failed = failures.length;
  const batch = { importId, firstRow, lastRow, skipped, failed, rows: `[${rows.join(",")}]`, cells: `[${cells.join(",")}]` };
  const changes = [tx.change(insertBatch, batch)];
  if (failed > 0) changes.push(tx.change(insertFailures, { importId, byItself: true, failures: recordsOf(failures) }));
  return changes;
}

function recordsOf(failures: readonly Failure[]): string {
  return JSON.stringify(failures.map(({ cells, ...rest }) => ({ ...rest, cells: cells.map(storable) })));
}

/** PostgreSQL stores no NUL. */
function storable(cell: string): string {
  return cell.includes("\0") ? cell.replaceAll("\0", "\uFFFD") : cell;
}

/** The batch behind a row; undefined behind the last one. */
export async function next(tx: TenantTx, importId: string, after: number): Promise<Batch | undefined> {
  const found = await tx.first(batchAfter, { importId, after });
  return found && { ...found, rows: JSON.parse(found.rows) as Row<unknown>[] };
}

/** Keeps what is wrong with rows of a batch, their number by what is wrong. */
export async function markFailed(
  tx: TenantTx,
  importId: string,
  { firstRow }: Batch,
  errors: ReadonlyMap<number, readonly RowProblem[]>,
): Promise<void> {
  if (errors.size === 0) return;
  const found = await tx.first(cellsOf, { importId, firstRow });
  const failures = (JSON.parse(found?.cells ?? "[]") as CellsOfRow[])
    .filter(({ row }) => errors.has(row))
    .map((cells): Failure => ({ ...cells, errors: errors.get(cells.row) ?? [] }));
  await tx.run(insertFailures, { importId, byItself: false, failures: recordsOf(failures) });
}

/** Forgets what was found out about rows by what was stored. */
export async function clearErrors(tx: TenantTx, importId: string): Promise<void> {
  await tx.run(clearFailures, { importId });
}

/** The first rows that failed. */
export function firstFailed(tx: TenantDb, importId: string, limit: number) {
  return tx.query(firstFailures, { importId, limit });
}

/** All rows that failed, as they came. */
export function streamFailed(tenant: TenantDb, importId: string, signal: AbortSignal) {
  return tenant.stream(allFailures, { importId }, 100, signal);
}

const batchesRemovedAtOnce = 20;
const failuresRemovedAtOnce = 5_000;

/** Removes some of an import's rows, now. Resolves to whether there may be more. */
export async function removeSome(tx: TenantTx, importId: string): Promise<boolean> {
  const batches = await tx.run(deleteBatches, { importId, limit: batchesRemovedAtOnce });
  const failures = await tx.run(deleteFailures, { importId, limit: failuresRemovedAtOnce });
  return batches.length === batchesRemovedAtOnce || failures.length === failuresRemovedAtOnce;
}
