import type pg from "pg";
import type Cursor from "pg-cursor";
import type { CompiledStatement } from "./statement.ts";

const rowNames = new WeakMap<CompiledStatement, string[]>();

/** Rows as objects with names in camelCase; the names are worked out once for each statement. */
export function decode<R>(compiled: CompiledStatement, result: pg.QueryArrayResult): R[] {
  let names = rowNames.get(compiled);
  if (!names) {
    names = namesOf(result.fields);
    rowNames.set(compiled, names);
  }
  return toObjects<R>(names, result.rows);
}

/** The columns' names in camelCase. */
export function namesOf(fields: pg.FieldDef[]): string[] {
  return fields.map((field) => camelCase(field.name));
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** The quoted column that a name in camelCase stands for. */
export function columnOf(name: string): string {
  return `"${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}"`;
}

/** Rows as objects with these names. */
export function toObjects<R>(names: string[], rows: unknown[][]): R[] {
  return rows.map((row) => {
    const object: Record<string, unknown> = {};
    for (let index = 0; index < names.length; index++) object[names[index] as string] = row[index];
    return object as R;
  });
}

/** The next rows of a cursor. */
export function readBatch(cursor: Cursor<unknown[]>, size: number): Promise<{ rows: unknown[][]; fields: pg.FieldDef[] }> {
  return new Promise((resolve, reject) => {
    // A cursor at its end answers without a result, whatever its types say.
    cursor.read(size, (error, rows, result: pg.QueryResult | undefined) =>
      error ? reject(error) : resolve({ rows, fields: result?.fields ?? [] }),
    );
  });
}
