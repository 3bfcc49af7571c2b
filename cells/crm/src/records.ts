import { type RawBuilder, sql } from "kysely";

/** Rows that travel as one parameter of JSON, so that the text does not depend on their number; with the names of the columns. */
export function recordsOf(rows: readonly object[]): string {
  const column = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return JSON.stringify(rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [column(name), value]))));
}

/** A field of such a row, which goes by the name "row". */
export function field(name: string): RawBuilder<string> {
  return sql<string>`"row".${sql.id(name)}`;
}

/** These fields of such a row, as the values of an update. */
export function fieldsOf(names: readonly string[]): Record<string, RawBuilder<string>> {
  return Object.fromEntries(names.map((name) => [name, field(name)]));
}
