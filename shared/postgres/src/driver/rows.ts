import type pg from "pg";
import type Cursor from "pg-cursor";
import type { RawRow } from "./message-reader.ts";
import { typeParsers } from "./parsing.ts";

type Parser = (text: string) => unknown;

/** The columns of a statement's rows: for each its name in camelCase, its type's OID, and the parser of its text. */
export interface RowDescription {
  readonly names: readonly string[];
  readonly types: readonly number[];
  readonly parsers: readonly Parser[];
}

const shapes = new Map<string, RowDescription>();

/** The description of these columns; the same object for equal columns. */
export function rowDescriptionOf(fields: readonly pg.FieldDef[]): RowDescription {
  const key = fields.map(({ name, dataTypeID }) => `${dataTypeID} ${name}`).join("\n");
  let rowDescription = shapes.get(key);
  if (!rowDescription) {
    rowDescription = {
      names: fields.map(({ name }) => camelCase(name)),
      types: fields.map(({ dataTypeID }) => dataTypeID),
      parsers: fields.map(({ dataTypeID }) => typeParsers.getTypeParser(dataTypeID, "text") as Parser),
    };
    shapes.set(key, rowDescription);
  }
  return rowDescription;
}

/** Unparsed rows; values are parsed when they are read. */
export class Rows<R = unknown> {
  readonly rowDescription: RowDescription;
  readonly raw: readonly RawRow[];
  /** There were more rows than `maxBytes` allowed: these are the first ones, at least one. */
  readonly isCut: boolean;

  constructor(rowDescription: RowDescription, raw: readonly RawRow[], isCut = false) {
    this.rowDescription = rowDescription;
    this.raw = raw;
    this.isCut = isCut;
  }

  get length(): number {
    return this.raw.length;
  }

  /** Size of the server's messages in bytes. */
  get size(): number {
    return this.raw.reduce((sum, row) => sum + row.size, 0);
  }

  /** The same rows, marked as cut. */
  cut(): Rows<R> {
    return new Rows(this.rowDescription, this.raw, true);
  }

  /** These rows followed by `next`. */
  followedBy(next: Rows<R>): Rows<R> {
    return new Rows(this.rowDescription, [...this.raw, ...next.raw], next.isCut);
  }

  /** The first n rows. */
  first(n: number): Rows<R> {
    return new Rows(this.rowDescription, this.raw.slice(0, n));
  }

  /** The n-th row as an object with names in camelCase; undefined if there is none. */
  at(n: number): R | undefined {
    const row = this.raw.at(n);
    return row && this.#object(row);
  }

  /** A field of the n-th row, by its name in camelCase; undefined if there is no such row or field. */
  value(n: number, name: string): unknown {
    const index = this.rowDescription.names.indexOf(name);
    const text = this.raw.at(n)?.field(index);
    return typeof text === "string" ? this.rowDescription.parsers[index]?.(text) : text;
  }

  objects(): R[] {
    return this.raw.map((row) => this.#object(row));
  }

  #object({ fields }: RawRow): R {
    const { names, parsers } = this.rowDescription;
    const object: Record<string, unknown> = {};
    for (let index = 0; index < names.length; index++) {
      const text = fields[index] ?? null;
      object[names[index] as string] = text === null ? null : (parsers[index] as Parser)(text);
    }
    return object as R;
  }
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** The quoted column for a name in camelCase. */
export function columnOf(name: string): string {
  return `"${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}"`;
}

/** Rows as objects with these names. */
export function toObjects<R>(names: readonly string[], rows: unknown[][]): R[] {
  return rows.map((row) => {
    const object: Record<string, unknown> = {};
    for (let index = 0; index < names.length; index++) object[names[index] as string] = row[index];
    return object as R;
  });
}

/** The next rows of a cursor. */
export function readBatch(cursor: Cursor<unknown[]>, size: number): Promise<{ rows: unknown[][]; fields: pg.FieldDef[] }> {
  return new Promise((resolve, reject) => {
    // At its end, a cursor gives no result, contrary to its types.
    cursor.read(size, (error, rows, result: pg.QueryResult | undefined) =>
      error ? reject(error) : resolve({ rows, fields: result?.fields ?? [] }),
    );
  });
}
