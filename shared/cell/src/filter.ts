import { badField, Problem } from "@cell/problem";
import { type Compilable, type RawBuilder, sql } from "kysely";
import type { FieldType, ListField } from "./listing.ts";
import type { SensitiveKind } from "./masking.ts";

/** One condition of a list: its text depends on `shape` alone, its values come separately. */
export interface Condition {
  shape: string;
  values: unknown[];
  sql(values: RawBuilder<unknown>[]): RawBuilder<boolean>;
  /** The same for records that are at hand: without what is there for an index alone. */
  holds?(values: RawBuilder<unknown>[]): RawBuilder<boolean>;
  /** Where the rows come from instead of the list's own select, with the same columns. */
  from?(): Compilable;
}

const comparisons: Record<string, RawBuilder<unknown>> = { eq: sql`=`, gt: sql`>`, gte: sql`>=`, lt: sql`<`, lte: sql`<=` };
const operators = ["eq", "ne", "in", "gt", "gte", "lt", "lte", "contains", "isNull"];

const whole = ["eq", "ne", "in", "isNull"];
/** How a masked field may be compared. Not amounts: few guesses would find one. */
const comparable: Record<SensitiveKind, readonly string[]> = { phone: whole, email: whole, amount: ["isNull"] };

/** What a value is cast to, to be compared with a column of the type. */
export const casts: Record<FieldType, RawBuilder<unknown>> = {
  text: sql`text`,
  texts: sql`text`,
  time: sql`timestamptz`,
  date: sql`date`,
  number: sql`numeric`,
  boolean: sql`boolean`,
  uuid: sql`uuid`,
  integer: sql`bigint`,
};

/** Reads `field[op]:value and …`; a value with " and " in it stands in double quotes. Throws BAD_REQUEST, and FIELD_MASKED by `maskedKind`. */
export function parseFilter(
  filter: string | undefined,
  fields: Readonly<Record<string, ListField>>,
  maskedKind: (field: string) => SensitiveKind | undefined,
): Condition[] {
  if (filter === undefined || filter.trim() === "") return [];
  const parts = splitParts(filter);
  if (parts.length > 20) throw badField("filter", "TOO_LONG", "may have at most 20 conditions");
  return parts.map((part) => parseCondition(part, fields, maskedKind));
}

function splitParts(filter: string): string[] {
  const parts = filter.match(/(?:"(?:[^"\\]|\\.)*"|(?!\s+and\s)[\s\S])+/gi) ?? [];
  return parts.map((part) => part.replace(/^\s*and\s+/i, "").trim()).filter((part) => part !== "");
}

function parseCondition(
  part: string,
  fields: Readonly<Record<string, ListField>>,
  maskedKind: (field: string) => SensitiveKind | undefined,
): Condition {
  const match = /^([A-Za-z][A-Za-z0-9]*)\[([A-Za-z]+)\]:([\s\S]*)$/.exec(part);
  const [, name = "", operator = "", raw = ""] = match ?? [];
  if (!match) throw badField("filter", "INVALID_FORMAT", `"${part.slice(0, 60)}" is not of the form field[op]:value`);
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field) throw badField("filter", "UNKNOWN_FIELD", `${name} cannot be filtered by; ${Object.keys(fields).join(", ")} can`);
  if (!operators.includes(operator))
    throw badField("filter", "INVALID_ENUM", `the operator ${operator} is not one of ${operators.join(", ")}`);
  const kind = maskedKind(name);
  if (kind && !comparable[kind].includes(operator))
    throw new Problem("FIELD_MASKED", `${name} is masked for you: it takes ${comparable[kind].join(", ")} only`, {
      details: { field: name },
    });
  const value = /^"[\s\S]*"$/.test(raw) ? raw.slice(1, -1).replace(/\\(["\\])/g, "$1") : raw;
  return condition(name, field.type, operator, value);
}

function condition(name: string, type: FieldType, operator: string, value: string): Condition {
  const column = sql.ref(name);
  const shape = `${name}[${operator}]`;
  const cast = casts[type];
  if (operator === "isNull") {
    if (value !== "true" && value !== "false") throw badField("filter", "INVALID_FORMAT", `${name}[isNull] takes true or false`);
    const test = type === "texts" ? sql<boolean>`cardinality(${column}) = 0` : sql<boolean>`${column} is null`;
    return { shape: `${shape}${value}`, values: [], sql: () => (value === "true" ? test : sql<boolean>`not (${test})`) };
  }
  if (operator === "contains") {
    if (type === "texts") return { shape, values: [[value]], sql: ([given]) => sql<boolean>`${column} @> ${given}::text[]` };
    if (type !== "text") throw badField("filter", "INVALID_FORMAT", `${name} is no text: contains does not apply`);
    const pattern = `%${value.replace(/[\\%_]/g, "\\$&")}%`;
    return { shape, values: [pattern], sql: ([given]) => sql<boolean>`${column} ilike ${given}` };
  }
  if (operator === "in") {
    const list = value.split(",").map((item) => checked(name, type, item.trim()));
    if (list.length > 200) throw badField("filter", "TOO_LONG", `${name}[in] takes at most 200 values`);
    if (type === "texts") return { shape, values: [list], sql: ([given]) => sql<boolean>`${column} && ${given}::text[]` };
    return { shape, values: [list], sql: ([given]) => sql<boolean>`${column} = any(${given}::${cast}[])` };
  }
  const single = checked(name, type, value);
  if (type === "texts") {
    if (operator !== "eq" && operator !== "ne")
      throw badField("filter", "INVALID_FORMAT", `${name} is a list: it takes eq, ne, in, contains and isNull`);
    const has = (given: RawBuilder<unknown> | undefined) => sql<boolean>`${given}::text = any(${column})`;
    return { shape, values: [single], sql: ([given]) => (operator === "eq" ? has(given) : sql<boolean>`not ${has(given)}`) };
  }
  if (operator === "ne") return { shape, values: [single], sql: ([given]) => sql<boolean>`${column} is distinct from ${given}::${cast}` };
  const symbol = comparisons[operator] ?? sql`=`;
  return { shape, values: [single], sql: ([given]) => sql<boolean>`${column} ${symbol} ${given}::${cast}` };
}

const forms: Record<FieldType, { pattern: RegExp; says: string }> = {
  text: { pattern: /^[\s\S]*$/, says: "text" },
  texts: { pattern: /^[\s\S]*$/, says: "text" },
  time: {
    pattern: /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d))?$/,
    says: "a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00Z)",
  },
  date: { pattern: /^\d{4}-\d\d-\d\d$/, says: "a date such as 2026-01-31" },
  number: { pattern: /^-?\d{1,15}(\.\d{1,6})?$/, says: "a number" },
  integer: { pattern: /^-?\d{1,15}$/, says: "a whole number" },
  boolean: { pattern: /^(true|false)$/, says: "true or false" },
  uuid: { pattern: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i, says: "an id (UUID)" },
};

function checked(name: string, type: FieldType, value: string): string {
  if (!hasForm(type, value)) throw badField("filter", "INVALID_FORMAT", `${name} is compared with ${forms[type].says}`);
  return value;
}

/** Whether a text can be compared with a column of this type. */
export function hasForm(type: FieldType, value: string): boolean {
  const isDay = type === "time" || type === "date";
  return forms[type].pattern.test(value) && !value.includes("\0") && value.isWellFormed() && (!isDay || existingDay(value));
}

/** Whether the date that a text begins with exists: no 30 February. */
export function existingDay(value: string): boolean {
  const [year, month, day] = [Number(value.slice(0, 4)), Number(value.slice(5, 7)), Number(value.slice(8, 10))];
  // PostgreSQL knows no year 0, and Date.UTC takes the years up to 99 for those of another century; leap years repeat.
  return year > 0 && new Date(Date.UTC(year + 2_000, month - 1, day)).getUTCDate() === day && !Number.isNaN(Date.parse(value));
}
