import { type Compilable, type RawBuilder, sql } from "kysely";
import { spanOf } from "../calendar.ts";
import { casts, type ListField } from "./field-types.ts";
import { foldedColumn, phoneColumn } from "./fold.ts";
import { orderedColumn } from "./sort.ts";

/** One condition of a list: its text depends only on `cacheKey`; its values are separate. */
export interface Condition {
  cacheKey: string;
  values: unknown[];
  sql(values: RawBuilder<unknown>[]): RawBuilder<boolean>;
  /** The same for given records, without the part that only serves an index. */
  matchesRow?(values: RawBuilder<unknown>[]): RawBuilder<boolean>;
  /** Replaces the list's own select by another one with the same columns. */
  from?(): Compilable;
}

/** A field, an operator and the values to compare. */
export interface Comparison {
  field: string;
  operator: string;
  /** In the form in which they are compared: see `comparedValues`. */
  values: readonly string[];
}

const symbols: Readonly<Record<string, RawBuilder<unknown>>> = { eq: sql`=`, gt: sql`>`, gte: sql`>=`, lt: sql`<`, lte: sql`<=` };

/** A condition that a field equals a value. */
export function equals(field: string, value: unknown): Condition {
  return { cacheKey: `${field}=`, values: [value], sql: ([given]) => sql<boolean>`${sql.ref(field)} = ${given}` };
}

/** Negates a condition. */
export function not({ cacheKey, values, sql: condition }: Condition): Condition {
  return { cacheKey: `not ${cacheKey}`, values, sql: (given) => sql<boolean>`not ${condition(given)}` };
}

/** Joins several conditions by `and` or `or`. */
export function joined(kind: "and" | "or", conditions: Condition[]): Condition {
  const counts = conditions.map(({ values }) => values.length);
  const begins = counts.map((_, index) => counts.slice(0, index).reduce((sum, count) => sum + count, 0));
  return {
    cacheKey: `(${conditions.map(({ cacheKey }) => cacheKey).join(kind === "and" ? "&" : "|")})`,
    values: conditions.flatMap(({ values }) => values),
    sql(given) {
      const parts = conditions.map((condition, index) => {
        const begin = begins[index] ?? 0;
        return condition.sql(given.slice(begin, begin + condition.values.length));
      });
      return sql<boolean>`(${sql.join(parts, kind === "and" ? sql` and ` : sql` or `)})`;
    },
  };
}

/** The condition of a comparison; dates of time fields are days in this timezone (IANA). */
export function conditionOf(comparison: Comparison, field: ListField, timezone: string): Condition {
  const { field: name, operator, values } = comparison;
  const { type } = field;
  const column = sql.ref(name);
  const cacheKey = `${name}[${operator}]`;
  const [value = ""] = values;
  if (operator === "isNull") {
    const test = type === "texts" ? sql<boolean>`cardinality(${column}) = 0` : sql<boolean>`${column} is null`;
    return { cacheKey: `${cacheKey}${value}`, values: [], sql: () => (value === "true" ? test : sql<boolean>`not (${test})`) };
  }
  if (type === "texts") return textsCondition(column, cacheKey, operator, values);
  if (type === "time") return timeCondition(column, cacheKey, operator, values, timezone);
  if (operator === "contains") {
    const searched = type === "phone" ? phoneColumn(column) : foldedColumn(column);
    return { cacheKey, values: [value], sql: ([given]) => sql<boolean>`strpos(${searched}, ${given}::text) > 0` };
  }
  const isWhole = operator === "eq" || operator === "ne" || operator === "in";
  if (isWhole && (type === "phone" || type === "email")) {
    const compared = type === "phone" ? phoneColumn(column) : foldedColumn(column);
    const isOne: Condition = { cacheKey, values: [values], sql: ([given]) => sql<boolean>`${compared} = any(${given}::text[])` };
    return operator === "ne" ? isNot(isOne) : isOne;
  }
  const cast = casts[type];
  if (operator === "in") return { cacheKey, values: [values], sql: ([given]) => sql<boolean>`${column} = any(${given}::${cast}[])` };
  if (operator === "ne") return { cacheKey, values: [value], sql: ([given]) => sql<boolean>`${column} is distinct from ${given}::${cast}` };
  const compared = operator === "eq" ? column : orderedColumn(name, { [name]: field });
  return { cacheKey, values: [value], sql: ([given]) => sql<boolean>`${compared} ${symbols[operator] ?? sql`=`} ${given}::${cast}` };
}

/** Negates a condition; also true for null. */
function isNot({ cacheKey, values, sql: condition }: Condition): Condition {
  return { cacheKey: `not ${cacheKey}`, values, sql: (given) => sql<boolean>`(${condition(given)}) is not true` };
}

/** A condition on a column of text arrays. */
function textsCondition(column: RawBuilder<unknown>, cacheKey: string, operator: string, values: readonly string[]): Condition {
  if (operator === "contains") return { cacheKey, values: [values], sql: ([given]) => sql<boolean>`${column} @> ${given}::text[]` };
  const overlaps: Condition = { cacheKey, values: [values], sql: ([given]) => sql<boolean>`${column} && ${given}::text[]` };
  return operator === "ne" ? not(overlaps) : overlaps;
}

/** A condition on a column of times: a date stands for the tenant's whole day. */
function timeCondition(
  column: RawBuilder<unknown>,
  cacheKey: string,
  operator: string,
  values: readonly string[],
  timezone: string,
): Condition {
  const spans = values.map((value) => spanOf(value, timezone));
  const [{ from, to } = { from: "", to: undefined }] = spans;
  switch (operator) {
    case "gt":
    case "lte": {
      // A day ends with the instant before the next day's first.
      const symbol = to === undefined ? symbols[operator] : operator === "gt" ? sql`>=` : sql`<`;
      const isDay = to === undefined ? "" : " day";
      return {
        cacheKey: `${cacheKey}${isDay}`,
        values: [to ?? from],
        sql: ([given]) => sql<boolean>`${column} ${symbol} ${given}::timestamptz`,
      };
    }
    case "gte":
    case "lt":
      return { cacheKey, values: [from], sql: ([given]) => sql<boolean>`${column} ${symbols[operator]} ${given}::timestamptz` };
    case "in": {
      const ranges = spans.map((span) => (span.to === undefined ? `[${span.from},${span.from}]` : `[${span.from},${span.to})`));
      return { cacheKey, values: [ranges], sql: ([given]) => sql<boolean>`${column} <@ any(${given}::tstzrange[])` };
    }
    default: {
      const isThen: Condition =
        to === undefined
          ? { cacheKey, values: [from], sql: ([given]) => sql<boolean>`${column} = ${given}::timestamptz` }
          : {
              cacheKey: `${cacheKey} day`,
              values: [from, to],
              sql: ([start, end]) => sql<boolean>`(${column} >= ${start}::timestamptz and ${column} < ${end}::timestamptz)`,
            };
      return operator === "ne" ? isNot(isThen) : isThen;
    }
  }
}
