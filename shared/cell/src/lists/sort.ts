import type { Parameters } from "@cell/postgres";
import { badField } from "@cell/problem";
import { type RawBuilder, sql } from "kysely";
import { casts, isCollated, type ListFields } from "./field-types.ts";

export interface SortKey {
  field: string;
  descending: boolean;
}

/**
 * Parses `-createdAt,name`; the id is added last, so that no two rows are equal. Throws BAD_REQUEST for a field that cannot be sorted by.
 */
export function parseSort(sort: string, fields: ListFields, id: string): SortKey[] {
  const keys = sort.split(",").map((part) => {
    const field = part.trim().replace(/^-/, "");
    return { field, descending: part.trim().startsWith("-") };
  });
  for (const { field } of keys) {
    if (field === id || (Object.hasOwn(fields, field) && fields[field]?.sort)) continue;
    const known = Object.keys(fields).filter((name) => fields[name]?.sort);
    throw badField("sort", "INVALID_ENUM", `"${field.slice(0, 60)}" cannot be sorted by; ${known.join(", ")} can`);
  }
  if (new Set(keys.map((key) => key.field)).size < keys.length) throw badField("sort", "INVALID_FORMAT", "names a field twice");
  if (!keys.some((key) => key.field === id)) keys.push({ field: id, descending: keys.at(-1)?.descending ?? false });
  return keys;
}

/** A field in its sort form: texts by ICU's Chinese collation, which is pinyin for Chinese and dictionary order for other letters. */
export function orderedColumn(field: string, fields: ListFields): RawBuilder<unknown> {
  const known = fields[field];
  return known && isCollated(known) ? sql`${sql.ref(field)} collate "zh-x-icu"` : sql.ref(field);
}

/**
 * The rows after the position k0, k1, …: as a row comparison if all keys have the same direction and none is nullable, so that an index
 * serves it.
 */
export function keysetCondition(sort: readonly SortKey[], fields: ListFields, p: Parameters<Record<string, unknown>>): RawBuilder<boolean> {
  const value = (index: number): RawBuilder<unknown> => {
    const type = fields[sort[index]?.field ?? ""]?.type ?? "uuid";
    return sql`${p[`k${index}`]}::${casts[type]}`;
  };
  const nullable = sort.some(({ field }) => fields[field]?.nullable);
  const [first] = sort;
  if (!nullable && sort.every((key) => key.descending === first?.descending)) {
    const columns = sql.join(sort.map(({ field }) => orderedColumn(field, fields)));
    const values = sql.join(sort.map((_, index) => value(index)));
    return sql<boolean>`(${columns}) ${first?.descending ? sql`<` : sql`>`} (${values})`;
  }
  const cases = sort.map((key, index) => {
    const same = sort.slice(0, index).map(({ field }, before) => sql`${sql.ref(field)} is not distinct from ${value(before)}`);
    return sql`(${sql.join([...same, after(orderedColumn(key.field, fields), key, value(index))], sql` and `)})`;
  });
  return sql<boolean>`(${sql.join(cases, sql` or `)})`;
}

/** After `value` in one key's order; PostgreSQL puts nulls last when ascending and first when descending. */
function after(column: RawBuilder<unknown>, { descending }: SortKey, value: RawBuilder<unknown>): RawBuilder<boolean> {
  return descending
    ? sql<boolean>`(${column} < ${value} or (${column} is not null and ${value} is null))`
    : sql<boolean>`(${column} > ${value} or (${column} is null and ${value} is not null))`;
}
