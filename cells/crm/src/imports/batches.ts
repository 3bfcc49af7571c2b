import { type Parameters, statement, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import * as failedRows from "./failed-rows.ts";
import type { Row, RowProblem } from "./importer.ts";

/** Rows of an upload that are staged together, and later carried out together. */
export interface UploadedBatch {
  firstRow: number;
  lastRow: number;
  /** The rows to carry out, each a `Row` in JSON. */
  rows: readonly string[];
  /** Their source in the file, each a `SourceOfRow` in JSON. */
  cells: readonly string[];
  /** Number of rows skipped as duplicates of earlier ones. */
  skipped: number;
  /** Number of rows that fail whatever is stored. */
  failed: number;
  /** Those of them that are stored, from `FailedRowBudget.take`. */
  failedRows: readonly string[];
}

/** A row's source in its file: its cells in the order of the header, or the item, and the line; null for JSON. */
interface SourceOfRow {
  row: number;
  line: number | null;
  cells: unknown;
}

/** A batch as it is carried out. */
export interface Batch {
  firstRow: number;
  lastRow: number;
  skipped: number;
  failed: number;
  rows: Row<unknown>[];
}

// Planned anew for each run: rows arrive faster than the statistics for a cached plan.
const unprepared = { keep: false };

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

const batchAfter = statement((p: Parameters<{ importId: string; after: number }>) =>
  db
    .selectFrom("importBatches")
    .select(["firstRow", "lastRow", "skipped", "failed", "rows"])
    .where("importId", "=", p.importId)
    .where("firstRow", ">", p.after)
    .orderBy("firstRow")
    .limit(1),
);

/** What is put aside of each row beside its cells: its number, its line and their names. */
const overheadOfCells = 32;

const cellsOf = statement((p: Parameters<{ importId: string; firstRow: number }>) =>
  db
    .selectFrom("importBatches")
    .select("cells")
    .select(
      db
        .selectFrom("importBatches as before")
        .select(
          sql<number>`sum(octet_length(before.cells) - ${sql.lit(overheadOfCells)} * (before.last_row - before.first_row + 1))::float8`.as(
            "bytes",
          ),
        )
        .where("before.importId", "=", p.importId)
        .where("before.firstRow", "<=", p.firstRow)
        .as("rowBytes"),
    )
    .where("importId", "=", p.importId)
    .where("firstRow", "=", p.firstRow),
);

const deleteBatches = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .deleteFrom("importBatches")
      .where(
        sql<boolean>`(import_id, first_row) in (${db.selectFrom("importBatches").select(["importId", "firstRow"]).where("importId", "=", p.importId).limit(p.limit)})`,
      )
      .returning("firstRow"),
  unprepared,
);

/** Stages rows of an upload. */
export function stage(tx: TenantTx, importId: string, batch: UploadedBatch) {
  const { firstRow, lastRow, rows, cells, skipped, failed } = batch;
  const changes = [
    tx.change(insertBatch, { importId, firstRow, lastRow, skipped, failed, rows: `[${rows.join(",")}]`, cells: `[${cells.join(",")}]` }),
  ];
  if (batch.failedRows.length > 0) changes.push(failedRows.insert(tx, importId, batch.failedRows));
  return changes;
}

/** The batch after a row; undefined at the end. */
export async function next(tx: TenantTx, importId: string, after: number): Promise<Batch | undefined> {
  const found = await tx.first(batchAfter, { importId, after });
  return found && { ...found, rows: JSON.parse(found.rows) as Row<unknown>[] };
}

/** Stores the failed rows of a batch, with their problems, within the budget. */
export async function markFailed(
  tx: TenantTx,
  importId: string,
  { firstRow }: Batch,
  errors: ReadonlyMap<number, readonly RowProblem[]>,
  budget: failedRows.FailedRowBudget,
): Promise<void> {
  if (errors.size === 0 || (budget.isFull && !budget.hasRoom)) return;
  const found = await tx.first(cellsOf, { importId, firstRow });
  budget.rowBytes = Math.max(0, found?.rowBytes ?? 0);
  const sources = (JSON.parse(found?.cells ?? "[]") as SourceOfRow[]).filter(({ row }) => errors.has(row));
  const stored = sources.flatMap(({ row, line, cells }) => {
    return budget.take({ row, line, cells: () => JSON.stringify(cells), errors: errors.get(row) ?? [] }) ?? [];
  });
  await failedRows.insertNow(tx, importId, stored);
}

const removedAtOnce = 20;

/** Deletes some of an import's rows immediately. Resolves to whether there may be more. */
export async function removeSome(tx: TenantTx, importId: string): Promise<boolean> {
  const removed = await tx.run(deleteBatches, { importId, limit: removedAtOnce });
  const areMoreFailed = await failedRows.removeSome(tx, importId);
  return removed.length === removedAtOnce || areMoreFailed;
}
