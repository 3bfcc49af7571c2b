import type { Tenant } from "@cell/postgres";
import { badField } from "@cell/problem";
import { type Compilable, type RawBuilder, sql } from "kysely";
import { spanOf } from "./calendar.ts";
import { conditionsIn, operators, type ParsedCondition, type ParsedFilter, parseFilterText } from "./filter-syntax.ts";
import { casts, checkKnown, type FieldType, formOf, hasForm, type ListField, type ListFields } from "./list-fields.ts";
import { maskedField, type SensitiveKind } from "./masking.ts";
import { type Conventions, conventionsOf } from "./settings.ts";

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

/** Whose list is filtered, by which fields, and which of them its caller may not read. */
export interface FilterScope {
  fields: ListFields;
  tenant: Tenant;
  maskedKind(field: string): SensitiveKind | undefined;
}

type Comparison = RawBuilder<unknown>;
const comparisons: Record<string, Comparison> = { eq: sql`=`, gt: sql`>`, gte: sql`>=`, lt: sql`<`, lte: sql`<=` };

/** The conditions that a filter asks for: all have to hold. Throws BAD_REQUEST, and FIELD_MASKED by `maskedKind`. */
export async function filterConditions(text: string | undefined, scope: FilterScope): Promise<Condition[]> {
  const filter = text === undefined ? undefined : parseFilterText(text);
  if (!filter) return [];
  const parsed = conditionsIn(filter);
  for (const condition of parsed) {
    checkCondition(condition, scope);
    condition.values = condition.values.map((value) => canonical(fieldOf(scope, condition.field).type, value));
  }
  await Promise.all(parsed.map((condition) => checkValues(condition, scope)));
  const needsCalendar = parsed.some(({ field, operator }) => fieldOf(scope, field).type === "time" && operator !== "isNull");
  const conventions = needsCalendar ? await conventionsOf(scope.tenant) : undefined;
  const build = (part: ParsedFilter): Condition =>
    part.kind === "condition" ? conditionOf(part, fieldOf(scope, part.field), conventions) : joined(part.kind, part.parts.map(build));
  return filter.kind === "and" ? filter.parts.map(build) : [build(filter)];
}

/** A condition that a field equals a value. */
export function equals(field: string, value: unknown): Condition {
  return { shape: `${field}=`, values: [value], sql: ([given]) => sql<boolean>`${sql.ref(field)} = ${given}` };
}

function joined(kind: "and" | "or", conditions: Condition[]): Condition {
  const counts = conditions.map(({ values }) => values.length);
  const begins = counts.map((_, index) => counts.slice(0, index).reduce((sum, count) => sum + count, 0));
  return {
    shape: `(${conditions.map(({ shape }) => shape).join(kind === "and" ? "&" : "|")})`,
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

function fieldOf({ fields }: FilterScope, name: string): ListField {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field) throw badField("filter", "UNKNOWN_FIELD", `${name} cannot be filtered by; ${Object.keys(fields).join(", ")} can`);
  return field;
}

/** What is wrong with a condition whatever the tenant knows. */
function checkCondition({ field: name, operator, values }: ParsedCondition, scope: FilterScope): void {
  const { type } = fieldOf(scope, name);
  if (!operators.some((known) => known === operator))
    throw badField("filter", "INVALID_ENUM", `the operator ${operator} is not one of ${operators.join(", ")}`);
  if (operator === "isNull") {
    if (values[0] !== "true" && values[0] !== "false") throw badField("filter", "INVALID_FORMAT", `${name}[isNull] takes true or false`);
    return;
  }
  if (scope.maskedKind(name)) throw maskedField(name);
  if (operator === "contains" && type !== "text" && type !== "texts")
    throw badField("filter", "INVALID_FORMAT", `${name} is no text: contains does not apply`);
  if (type === "texts" && ["gt", "gte", "lt", "lte"].includes(operator))
    throw badField("filter", "INVALID_FORMAT", `${name} is a list: it takes eq, ne, in, contains and isNull`);
  if (!values.every((value) => hasForm(type, value)))
    throw badField("filter", "INVALID_FORMAT", `${name} is compared with ${formOf(type)}`);
}

/** A value as it is stored, if it is. */
function canonical(type: FieldType, value: string): string {
  return type === "uuid" ? value.toLowerCase() : value.normalize("NFC");
}

/** Refuses what a field with known values does not know. */
async function checkValues({ field: name, operator, values }: ParsedCondition, scope: FilterScope): Promise<void> {
  const { values: known } = fieldOf(scope, name);
  if (known && operator !== "isNull" && operator !== "contains") await checkKnown("filter", known, values, scope.tenant, name);
}

function conditionOf({ field, operator, values }: ParsedCondition, { type }: ListField, conventions: Conventions | undefined): Condition {
  const column = sql.ref(field);
  const shape = `${field}[${operator}]`;
  const [value = ""] = values;
  if (operator === "isNull") {
    const test = type === "texts" ? sql<boolean>`cardinality(${column}) = 0` : sql<boolean>`${column} is null`;
    return { shape: `${shape}${value}`, values: [], sql: () => (value === "true" ? test : sql<boolean>`not (${test})`) };
  }
  if (type === "texts") return listCondition(column, shape, operator, values);
  if (type === "time" && conventions) return timeCondition(column, shape, operator, values, conventions);
  if (operator === "contains") {
    const pattern = `%${value.replace(/[\\%_]/g, "\\$&")}%`;
    return { shape, values: [pattern], sql: ([given]) => sql<boolean>`${column} ilike ${given}` };
  }
  const cast = casts[type];
  if (operator === "in") return { shape, values: [values], sql: ([given]) => sql<boolean>`${column} = any(${given}::${cast}[])` };
  if (operator === "ne") return { shape, values: [value], sql: ([given]) => sql<boolean>`${column} is distinct from ${given}::${cast}` };
  return { shape, values: [value], sql: ([given]) => sql<boolean>`${column} ${comparisons[operator] ?? sql`=`} ${given}::${cast}` };
}

/** A condition on a column that holds several texts. */
function listCondition(column: RawBuilder<unknown>, shape: string, operator: string, values: string[]): Condition {
  if (operator === "contains") return { shape, values: [values], sql: ([given]) => sql<boolean>`${column} @> ${given}::text[]` };
  const overlaps: Condition = { shape, values: [values], sql: ([given]) => sql<boolean>`${column} && ${given}::text[]` };
  return operator === "ne" ? not(overlaps) : overlaps;
}

/** A condition that another one does not hold. */
export function not({ shape, values, sql: condition }: Condition): Condition {
  return { shape: `not ${shape}`, values, sql: (given) => sql<boolean>`not ${condition(given)}` };
}

/** A condition on a column of times: a date stands for the whole of the tenant's day. */
function timeCondition(
  column: RawBuilder<unknown>,
  shape: string,
  operator: string,
  values: string[],
  { timezone }: Conventions,
): Condition {
  const spans = values.map((value) => spanOf(value, timezone));
  const [{ from, to } = { from: "", to: undefined }] = spans;
  switch (operator) {
    case "gt":
    case "lte": {
      // Up to the end of the day: its last instant is the one before the next day's first.
      const symbol = to === undefined ? comparisons[operator] : operator === "gt" ? sql`>=` : sql`<`;
      const isDay = to === undefined ? "" : " day";
      return { shape: `${shape}${isDay}`, values: [to ?? from], sql: ([given]) => sql<boolean>`${column} ${symbol} ${given}::timestamptz` };
    }
    case "gte":
    case "lt":
      return { shape, values: [from], sql: ([given]) => sql<boolean>`${column} ${comparisons[operator]} ${given}::timestamptz` };
    case "in": {
      const ranges = spans.map((span) => (span.to === undefined ? `[${span.from},${span.from}]` : `[${span.from},${span.to})`));
      return { shape, values: [ranges], sql: ([given]) => sql<boolean>`${column} <@ any(${given}::tstzrange[])` };
    }
    default: {
      const isThen: Condition =
        to === undefined
          ? { shape, values: [from], sql: ([given]) => sql<boolean>`${column} = ${given}::timestamptz` }
          : {
              shape: `${shape} day`,
              values: [from, to],
              sql: ([start, end]) => sql<boolean>`(${column} >= ${start}::timestamptz and ${column} < ${end}::timestamptz)`,
            };
      return operator === "ne" ? { ...isThen, sql: (given) => sql<boolean>`(${isThen.sql(given)}) is not true` } : isThen;
    }
  }
}
