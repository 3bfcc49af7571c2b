import { type RawBuilder, sql } from "kysely";

const columns = new Map<string, string>();

/** The column of a field; cached, since imports ask for the same ones a million times. */
export function columnOf(name: string): string {
  let column = columns.get(name);
  if (column === undefined) {
    column = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    columns.set(name, column);
  }
  return column;
}

/** Rows as one JSON parameter with column names, so that the statement's text does not depend on their number. */
export function recordsOf(rows: readonly object[]): string {
  return JSON.stringify(
    rows.map((row) => {
      const record: Record<string, unknown> = {};
      for (const name in row) record[columnOf(name)] = (row as Record<string, unknown>)[name];
      return record;
    }),
  );
}

/** A field of such a row, which has the alias "row". It fits a column of any type: the record set declares the column's. */
export function field(name: string): RawBuilder<never> {
  return sql<never>`"row".${sql.id(name)}`;
}

/** These fields of such a row, as the values of an update. */
export function fieldsOf<Name extends string>(names: readonly Name[]): Record<Name, RawBuilder<never>> {
  return Object.fromEntries(names.map((name) => [name, field(name)])) as Record<Name, RawBuilder<never>>;
}
