import type { Tenant } from "@cell/postgres";
import { badField } from "@cell/problem";
import { type RawBuilder, sql } from "kysely";

/** How a field's values are compared: the type decides what a filter's value must look like. */
export type FieldType = "text" | "phone" | "email" | "time" | "date" | "number" | "integer" | "boolean" | "uuid" | "texts";

/** Reads which values a tenant knows; reads again where one of `asked` is not among those that it has in memory. */
export type KnownValues = (tenant: Tenant, asked: readonly string[]) => Promise<readonly string[]>;

export interface ListField {
  type: FieldType;
  /** It may be sorted by. */
  sort?: boolean;
  /** It may be null, which an order has to reckon with. */
  nullable?: boolean;
  /** The only values that it can have: another one in a filter is refused. */
  values?: readonly string[] | KnownValues;
  /** Its text is part of what the list's keyword searches, which has an index. */
  searched?: boolean;
  /** Of phone numbers: all forms without separators in which the same number may be stored by a tenant of a region. */
  forms?(value: string, region: string): Promise<string[]>;
}

export type ListFields = Readonly<Record<string, ListField>>;

/** What a value is cast to, to be compared with a column of the type. */
export const casts: Record<FieldType, RawBuilder<unknown>> = {
  text: sql`text`,
  phone: sql`text`,
  email: sql`text`,
  texts: sql`text`,
  time: sql`timestamptz`,
  date: sql`date`,
  number: sql`numeric`,
  boolean: sql`boolean`,
  uuid: sql`uuid`,
  integer: sql`bigint`,
};

const forms: Record<FieldType, { pattern: RegExp; says: string }> = {
  text: { pattern: /^[\s\S]*$/, says: "text" },
  phone: { pattern: /^\+?[\s().\-/]*\d[\d\s().\-/]*$/, says: "a phone number, or some of its digits" },
  email: { pattern: /^[\s\S]*$/, says: "text" },
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

/** Whether values of the field are texts that people read, which are sorted as a dictionary sorts them. */
export function isCollated({ type, values }: ListField): boolean {
  return !values && (type === "text" || type === "phone" || type === "email");
}

/** What a value of the type looks like, for an error message. */
export function formOf(type: FieldType): string {
  return forms[type].says;
}

/** Whether a text can be compared with a column of this type. */
export function hasForm(type: FieldType, value: string): boolean {
  const isDay = type === "time" || type === "date";
  return forms[type].pattern.test(value) && !value.includes("\0") && value.isWellFormed() && (!isDay || existingDay(value));
}

/** Whether the date that a text begins with exists: no 30 February. */
function existingDay(value: string): boolean {
  const [year, month, day] = [Number(value.slice(0, 4)), Number(value.slice(5, 7)), Number(value.slice(8, 10))];
  // PostgreSQL knows no year 0, and Date.UTC takes the years up to 99 for those of another century; leap years repeat.
  return year > 0 && new Date(Date.UTC(year + 2_000, month - 1, day)).getUTCDate() === day && !Number.isNaN(Date.parse(value));
}

/**
 * Throws BAD_REQUEST at `path`, naming the known values, where one of `asked` is not among them. `field`: what they are values of, where the
 * path does not say it.
 */
export async function checkKnown(
  path: string,
  known: readonly string[] | KnownValues,
  asked: readonly string[],
  tenant: Tenant,
  field?: string,
): Promise<void> {
  const values = typeof known === "function" ? await known(tenant, asked) : known;
  const unknown = asked.find((value) => !values.includes(value));
  if (unknown === undefined) return;
  const named = values.length > mostNamed ? `${values.slice(0, mostNamed).join(", ")} …` : values.join(", ");
  throw badField(
    path,
    "INVALID_ENUM",
    `${field === undefined ? "" : `${field} `}knows no "${unknown.slice(0, 60)}"; it is one of ${named}`,
  );
}

const mostNamed = 200;
