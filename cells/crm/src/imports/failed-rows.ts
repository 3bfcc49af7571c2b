import { type Parameters, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { withoutNul } from "./domain.ts";
import type { RowProblem } from "./importer.ts";

/** A row of an upload and its problems. */
export interface FailedRow {
  row: number;
  line: number | null;
  /** JSON: its cells in the order of the header, or its item. */
  cells(): string;
  errors: readonly RowProblem[];
}

/** The source of a failed row: its cells, its item, or false if it was too large to store. */
export type FailedCells = readonly string[] | Readonly<Record<string, unknown>> | false;

/** Size limit of one stored failed row. */
export const failedRowBytesAtMost = 64 * 1024;
/** Size limit of an import's stored rows that fail by themselves, and the same again for those that fail because of stored data. */
export const failedBytesAtMost = 16 * 1024 * 1024;
/** Of them an upload of few bytes has so many for itself, and so many for each byte of its rows: short rows have long errors. */
export const failedBytesOfAny = 1024 * 1024;
export const failedBytesPerByte = 8;
/** Stored bytes of a row besides its cells and errors. */
const overheadBytes = 64;

/** Decides which failed rows of an import are stored for its error file: the first ones within the limit. */
export class FailedRowBudget {
  #usedBytes: number;
  #isTruncated: boolean;
  #rowBytes = 0;

  constructor({ usedBytes = 0, isTruncated = false } = {}) {
    this.#usedBytes = usedBytes;
    this.#isTruncated = isTruncated;
  }

  /** How much of the budget is used up: all of it once a row has found no room. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Some rows are not in the error file. */
  get isTruncated(): boolean {
    return this.#isTruncated;
  }

  /** How many bytes the rows of the upload have, as far as they are known. */
  set rowBytes(bytes: number) {
    this.#rowBytes = bytes;
  }

  get rowBytes(): number {
    return this.#rowBytes;
  }

  /** No further row is kept, whatever is sent yet. */
  get isFull(): boolean {
    return this.#usedBytes >= failedBytesAtMost;
  }

  /** Whether one more row is kept. After one that found no room none is, so that the error file ends where it is cut. */
  get hasRoom(): boolean {
    if (this.#usedBytes < Math.min(failedBytesAtMost, failedBytesOfAny + failedBytesPerByte * this.#rowBytes)) return true;
    this.#usedBytes = Math.max(this.#usedBytes, failedBytesAtMost);
    this.#isTruncated = true;
    return false;
  }

  /** The row in its stored JSON form; undefined if it is not stored. */
  take({ row, line, cells, errors }: FailedRow): string | undefined {
    if (!this.hasRoom) return undefined;
    // A truncated row could be imported as if it were complete.
    const whole = jsonWithoutNul(cells());
    const isStored = Buffer.byteLength(whole) <= failedRowBytesAtMost;
    if (!isStored) this.#isTruncated = true;
    const text = `{"row":${row},"line":${line},"cells":${isStored ? whole : "false"},"errors":${JSON.stringify(errors)}}`;
    this.#usedBytes += Buffer.byteLength(text) + overheadBytes;
    return text;
  }
}

/** JSON without NUL, which PostgreSQL cannot store: it may be the reason why a row failed. */
function jsonWithoutNul(json: string): string {
  if (!json.includes("\\u0000")) return json;
  return JSON.stringify(JSON.parse(json, (_key, value) => (typeof value === "string" ? withoutNul(value) : value)));
}

// Planned anew for each run: rows arrive faster than the statistics for a cached plan.
const unprepared = { keep: false };

const insertRows = statement((p: Parameters<{ importId: string; byItself: boolean; rows: string }>) =>
  db
    .insertInto("importFailures")
    .columns(["importId", "byItself", "row", "line", "cells", "errors"])
    .expression(
      sql`select ${p.importId}::uuid, ${p.byItself}::boolean, given.* from json_to_recordset(${p.rows}::json)
        as given("row" int, "line" int, "cells" json, "errors" json)`,
    ),
);

const clearRows = statement((p: Parameters<{ importId: string }>) =>
  db.deleteFrom("importFailures").where("importId", "=", p.importId).where("byItself", "=", false),
);

const firstFailedRows = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .selectFrom("importFailures")
      .select(["row", "line", "errors"])
      .$castTo<{ row: number; line: number | null; errors: RowProblem[] }>()
      .where("importId", "=", p.importId)
      .orderBy("row")
      .limit(p.limit),
  unprepared,
);

const allRows = statement(
  (p: Parameters<{ importId: string }>) =>
    db
      .selectFrom("importFailures")
      .select(["cells", "errors"])
      .$castTo<{ cells: FailedCells; errors: RowProblem[] }>()
      .where("importId", "=", p.importId)
      .orderBy("row"),
  unprepared,
);

const deleteRows = statement(
  (p: Parameters<{ importId: string; limit: number }>) =>
    db
      .deleteFrom("importFailures")
      .where(
        sql<boolean>`(import_id, row) in (${db.selectFrom("importFailures").select(["importId", "row"]).where("importId", "=", p.importId).limit(p.limit)})`,
      )
      .returning("row"),
  unprepared,
);

/** Stores rows that fail by themselves, as `FailedRowBudget.take` returns them, at the commit. */
export function insert(tx: TenantTx, importId: string, rows: readonly string[]) {
  return tx.change(insertRows, { importId, byItself: true, rows: `[${rows.join(",")}]` });
}

/** Stores rows that fail because of stored data, immediately. */
export async function insertNow(tx: TenantTx, importId: string, rows: readonly string[]): Promise<void> {
  if (rows.length > 0) await tx.run(insertRows, { importId, byItself: false, rows: `[${rows.join(",")}]` });
}

/** Deletes the rows that failed because of stored data. */
export async function clear(tx: TenantTx, importId: string): Promise<void> {
  await tx.run(clearRows, { importId });
}

/** The first failed rows. */
export function first(tx: TenantDb, importId: string, limit: number) {
  return tx.query(firstFailedRows, { importId, limit });
}

const rowsAtOnce = 100;

/** All stored failed rows. */
export function stream(tenant: TenantDb, importId: string, signal: AbortSignal) {
  return tenant.stream(allRows, { importId }, rowsAtOnce, signal);
}

const removedAtOnce = 5_000;

/** Deletes some of an import's failed rows immediately. Resolves to whether there may be more. */
export async function removeSome(tx: TenantTx, importId: string): Promise<boolean> {
  return (await tx.run(deleteRows, { importId, limit: removedAtOnce })).length === removedAtOnce;
}
