import { arrayText } from "@cell/postgres";
import { type ColumnType, type RawBuilder, sql } from "kysely";
import type { z } from "zod";
import type { FieldType, ListField, ListFields } from "../lists/field-types.ts";

/** What a column holds; `number` is a decimal, `json` an object. */
export type ColumnKind = FieldType | "json";

/** A column of a record, and what its list can do with it. */
export interface Column extends Omit<ListField, "type"> {
  type: ColumnKind;
  /** The list's filter accepts it. */
  filter?: true;
  /** Written when the record is created, and never updated. */
  fixed?: true;
  /** Read with the record, but computed by the database or written by statements of its own. */
  derived?: true;
}

type Definition<Row> = Readonly<Record<keyof Row & string, Column>>;
type NamesWithout<D, Flag> = { [Name in keyof D]: D[Name] extends Flag ? never : Name }[keyof D] & string;

/** The names of the columns that are written with a record. */
type WrittenName<D> = NamesWithout<D, { derived: true }>;
/** The names of the columns that an update may change. */
type ChangingName<D> = NamesWithout<D, { derived: true } | { fixed: true }>;

/** The columns of the records of one resource: everything that depends on their names and types follows from them. */
export interface RecordColumns<Row, D extends Definition<Row>> {
  readonly all: readonly (keyof D & string)[];
  readonly written: readonly WrittenName<D>[];
  readonly changing: readonly ChangingName<D>[];
  readonly kinds: Readonly<Record<keyof D & string, ColumnKind>>;
  /** The fields of the list. */
  readonly fields: ListFields & Readonly<Record<keyof D & string, ListField>>;
  /** Phantom: the type of a record. */
  readonly row?: Row;
}

/** A decimal, which is read as a text: a number would not hold it exactly. */
type Decimal = ColumnType<string, string | number, string | number>;
type Derived<Value> = ColumnType<Value, Value | undefined, Value>;

/** The columns as Kysely sees those of their table. */
export type ColumnTypes<Columns> =
  Columns extends RecordColumns<infer Row, infer D>
    ? {
        [Name in keyof D & keyof Row]: D[Name] extends { derived: true }
          ? Derived<D[Name] extends { type: "number" } ? string : Row[Name]>
          : D[Name] extends { type: "number" }
            ? Decimal
            : Row[Name];
      }
    : never;

/** Declares the columns of the records of type Row, each exactly once, in the order in which documents name them. */
export function recordColumns<Row>() {
  return <const D extends Definition<Row>>(definition: D & Readonly<Record<Exclude<keyof D, keyof Row>, never>>): RecordColumns<Row, D> => {
    const entries = Object.entries<Column>(definition);
    const names = (isIncluded: (column: Column) => boolean) => entries.flatMap(([name, column]) => (isIncluded(column) ? name : []));
    return {
      all: names(() => true) as (keyof D & string)[],
      written: names(({ derived }) => !derived) as WrittenName<D>[],
      changing: names(({ derived, fixed }) => !derived && !fixed) as ChangingName<D>[],
      kinds: Object.fromEntries(entries.map(([name, { type }]) => [name, type])) as Record<keyof D & string, ColumnKind>,
      fields: Object.fromEntries(
        entries.flatMap(([name, { filter, fixed: _fixed, derived: _derived, type, ...rest }]) =>
          filter && type !== "json" ? [[name, { type, ...rest }]] : [],
        ),
      ) as RecordColumns<Row, D>["fields"],
    };
  };
}

/** The fields of an input that may be null, each null: the values of a record whose creator leaves them out. */
export function nullFields<Fields extends Readonly<Record<string, z.ZodType>>>(fields: Fields) {
  const names = Object.keys(fields).filter((name) => fields[name]?.safeParse(null).success);
  return Object.fromEntries(names.map((name) => [name, null])) as {
    [Name in keyof Fields as null extends z.output<Fields[Name]> ? Name : never]: null;
  };
}

const postgresTypes: Readonly<Record<ColumnKind, RawBuilder<unknown>>> = {
  text: sql`text`,
  phone: sql`text`,
  email: sql`text`,
  texts: sql`text[]`,
  time: sql`timestamptz`,
  date: sql`date`,
  number: sql`numeric`,
  integer: sql`int`,
  boolean: sql`boolean`,
  uuid: sql`uuid`,
  json: sql`jsonb`,
};

/** Rows of JSON, as `recordsOf` makes them, as a table with the alias "row" and columns of these kinds. */
export function recordset(rows: RawBuilder<string>, kinds: Readonly<Record<string, ColumnKind>>) {
  const columns = Object.entries(kinds).map(([name, kind]) => sql`${sql.id(name)} ${postgresTypes[kind]}`);
  return sql<object>`json_to_recordset(${rows}::json)`.as<"row">(sql<never>`"row"(${sql.join(columns)})`);
}

/** A value as COPY reads it into a column of this kind. */
export function copyValue(kind: ColumnKind | undefined, value: unknown): string | number | null {
  if (kind === "texts") return arrayText(value as string[]);
  return kind === "json" ? JSON.stringify(value) : (value as string | number | null);
}
