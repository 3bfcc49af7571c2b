import { type Parameters, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { withoutNul } from "./domain.ts";
import type { RowProblem } from "./importer.ts";

/** A row of an upload with what is wrong with it. */
export interface FailedRow {
  row: number;
  line: number | null;
  /** JSON: its cells in the order of the header, or the item that it was. */
  cells(): string;
  errors: readonly RowProblem[];
}

/** What a failed row was: its cells, the item, or false where that was too much to be kept. */
export type FailedCells = readonly string[] | Readonly<Record<string, unknown>> | false;

/** How many bytes of one failed row are kept. */
export const failedRowBytesAtMost = 64 * 1024;
/** How many bytes are kept of the rows of one import that fail by themselves, and as many again of those that fail by what is stored. */
export const failedBytesAtMost = 16 * 1024 * 1024;
/** Of them an upload of few bytes has so many for itself, and so many for each byte of its rows: short rows have long errors. */
export const failedBytesOfAny = 1024 * 1024;
export const failedBytesPerByte = 8;
/** What a row takes beside its cells and errors. */
const overheadBytes = 64;

/** Decides which failed rows of an import are kept for its error file: the first ones, until there are too many. */
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

  /** Some row is not in the error file. */
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

  /** The row as it is kept, in JSON; undefined where it is not. */
  take({ row, line, cells, errors }: FailedRow): string | undefined {
    if (!this.hasRoom) return undefined;
    // A part of a row would be imported for the whole.
    const whole = jsonWithoutNul(cells());
    const isStored = Buffer.byteLength(whole) <= failedRowBytesAtMost;
    if (!isStored) this.#isTruncated = true;
    const text = `{"row":${row},"line":${line},"cells":${isStored ? whole : "false"},"errors":${JSON.stringify(errors)}}`;
    this.#usedBytes += Buffer.byteLength(text) + overheadBytes;
    return text;
  }
}

/** JSON without the NUL that PostgreSQL does not store: a row may fail just for it. */
function jsonWithoutNul(json: string): string {
  if (!json.includes("\\u0000")) return json;
  return JSON.stringify(JSON.parse(json, (_key, value) => (typeof value === "string" ? withoutNul(value) : value)));
}

// Planned afresh at each run: rows appear faster than the statistics that a kept plan rests on.
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

const firstRows = statement(
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

/** Keeps rows that fail whatever is stored, each as `FailedRowBudget.take` gives it, at the commit. */
export function insert(tx: TenantTx, importId: string, rows: readonly string[]) {
  return tx.change(insertRows, { importId, byItself: true, rows: `[${rows.join(",")}]` });
}

/** Keeps rows that fail by what is stored, now. */
export async function insertNow(tx: TenantTx, importId: string, rows: readonly string[]): Promise<void> {
  if (rows.length > 0) await tx.run(insertRows, { importId, byItself: false, rows: `[${rows.join(",")}]` });
}

/** Forgets which rows failed by what was stored. */
export async function clear(tx: TenantTx, importId: string): Promise<void> {
  await tx.run(clearRows, { importId });
}

/** The first rows that failed. */
export function first(tx: TenantDb, importId: string, limit: number) {
  return tx.query(firstRows, { importId, limit });
}

const rowsAtOnce = 100;

/** All rows that were kept. */
export function stream(tenant: TenantDb, importId: string, signal: AbortSignal) {
  return tenant.stream(allRows, { importId }, rowsAtOnce, signal);
}

const removedAtOnce = 5_000;

/** Removes some of an import's failed rows, now. Resolves to whether there may be more. */
export async function removeSome(tx: TenantTx, importId: string): Promise<boolean> {
  return (await tx.run(deleteRows, { importId, limit: removedAtOnce })).length === removedAtOnce;
}
