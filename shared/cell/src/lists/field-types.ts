import type { Tenant } from "@cell/postgres";
import { badField } from "@cell/problem";
import { type RawBuilder, sql } from "kysely";

/** How a field's values are compared; it decides the form of a filter's values. */
export type FieldType = "text" | "phone" | "email" | "time" | "date" | "number" | "integer" | "boolean" | "uuid" | "texts";

/** Reads the values that a tenant knows; reads them again if one of `asked` is not among the cached ones. */
export type KnownValues = (tenant: Tenant, asked: readonly string[]) => Promise<readonly string[]>;

export interface ListField {
  type: FieldType;
  /** Lists can be sorted by it. */
  sort?: boolean;
  /** It may be null, which sorting has to handle. */
  nullable?: boolean;
  /** The only valid values: others in a filter are rejected. */
  values?: readonly string[] | KnownValues;
  /** Its text is part of what the list's keyword searches, which has an index. */
  searched?: boolean;
  /** For phone numbers: all forms without separators in which a tenant of the region may have stored the number. */
  forms?(value: string, region: string): Promise<string[]>;
}

export type ListFields = Readonly<Record<string, ListField>>;

/** Cast of a value for the comparison with a column of the type. */
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

/** Whether the field holds texts for people, which are sorted by a collation. */
export function isCollated({ type, values }: ListField): boolean {
  return !values && (type === "text" || type === "phone" || type === "email");
}

/** The form of the type's values, for an error message. */
export function formOf(type: FieldType): string {
  return forms[type].says;
}

/** Whether a text is a valid value of the type. */
export function hasForm(type: FieldType, value: string): boolean {
  const isDay = type === "time" || type === "date";
  return forms[type].pattern.test(value) && !value.includes("\0") && value.isWellFormed() && (!isDay || existingDay(value));
}

/** Whether the date at the beginning of a text exists: no 30 February. */
function existingDay(value: string): boolean {
  const [year, month, day] = [Number(value.slice(0, 4)), Number(value.slice(5, 7)), Number(value.slice(8, 10))];
  // PostgreSQL has no year 0, and Date.UTC maps the years up to 99 to 19xx; adding 2,000 years keeps leap years.
  return year > 0 && new Date(Date.UTC(year + 2_000, month - 1, day)).getUTCDate() === day && !Number.isNaN(Date.parse(value));
}

/**
 * Throws BAD_REQUEST at `path`, listing the known values, if one of `asked` is not among them. `field`: the field's name, if the path does
 * not contain it.
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
    `${field === undefined ? "" : `${field} `}has no value "${unknown.slice(0, 60)}"; use one of ${named}`,
  );
}

const mostNamed = 200;
