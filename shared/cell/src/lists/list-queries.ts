import { type Parameters, tenantTables } from "@cell/postgres";
import { type Compilable, type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import type { Condition } from "./conditions.ts";
import type { ListDefinition, ListRequest, Values } from "./lists.ts";
import { keysetCondition, orderedColumn } from "./sort.ts";

/** Past this many matches a total is a bound. */
export const countedAtMost = 10_000;
/** How many more are counted: so many records may change before the bound is in doubt. */
export const countMargin = 1_000;
/** A keyword is looked for in so many records of the page's beginning before an index is asked for all that hold it. */
export const scanSample = 2_000;

type Query = SelectQueryBuilder<never, never, object>;

/** How a page's rows are found: as PostgreSQL likes, among the latest alone, or out of all that match. */
export type KeywordStrategy = "any" | "latest" | "matches";

/** Where a page begins: at the first match, past some, or after a cursor's position. */
export type Start = "first" | "offset" | "after";

const records = tenantTables<object>();

/** What the lists of one resource ask the database, for requests of every shape. */
export class ListQueries<Row extends object> {
  readonly #listing: ListDefinition<Row>;

  constructor(listing: ListDefinition<Row>) {
    this.#listing = listing;
  }

  /** The first rows from a page's beginning on. */
  page(request: ListRequest, p: Parameters<Values>, limit: number, start: Start, strategy: KeywordStrategy): Compilable<Row> {
    const { keyword } = request;
    let query = this.matching(request, p, strategy === "latest" ? keyword : undefined) as unknown as Query;
    if (start === "after") query = query.where(keysetCondition(request.sort, this.#listing.fields, p) as never);
    if (strategy === "latest" && keyword) {
      const latest = this.#order(query as never, request) as unknown as Query;
      query = this.#holding(latest.limit(sql.lit(scanSample) as never), request, keyword, p).select(this.#columns);
    } else if (strategy === "matches") query = from(query.offset(sql.lit(0) as never)).select(this.#columns);
    query = this.#order(query as never, request) as unknown as Query;
    // A literal limit: as a parameter it would keep PostgreSQL from ever using a generic plan.
    query = query.limit(sql.lit(limit) as never);
    if (start === "offset") query = query.offset(sql`${p.offset}::bigint` as never);
    return query as unknown as Compilable<Row>;
  }

  /** All matches in their order. */
  all(request: ListRequest, p: Parameters<Values>): Compilable<Row> {
    return this.#order(this.matching(request, p), request);
  }

  /** How many records match: up to what a bound needs, or exactly. */
  count(request: ListRequest, p: Parameters<Values>, exact: boolean): Compilable<{ total: number }> {
    return countOf(this.matching(request, p), exact);
  }

  /** How many of the first `scanned` records hold the keyword, counted in the records themselves. */
  countWithin(request: ListRequest, p: Parameters<Values>, keyword: Condition, scanned: number): Compilable<{ total: number }> {
    const first = (this.matching(request, p, keyword) as unknown as Query).clearSelect().limit(sql.lit(scanned) as never);
    return countOf(this.#holding(first, request, keyword, p) as never, false);
  }

  /** Those of some records that hold the keyword. */
  #holding(records: Query, request: ListRequest, keyword: Condition, p: Parameters<Values>): Query {
    const values = this.#given(request, keyword, p);
    return from(records.select("search" as never)).where((keyword.matchesRow?.(values) ?? keyword.sql(values)) as never);
  }

  get #columns(): never {
    return this.#listing.resource.fields.filter((field) => field !== "tenantId") as never;
  }

  #given(request: ListRequest, condition: Condition, p: Parameters<Values>): RawBuilder<unknown>[] {
    const index = request.conditions.indexOf(condition);
    return condition.values.map((_, at) => p[`c${index}_${at}`] as RawBuilder<unknown>);
  }

  /** The select with all conditions, or all but one. */
  matching(request: ListRequest, p: Parameters<Values>, without?: Condition): Compilable<Row> {
    const source = request.conditions.find((condition) => condition.from);
    let query = (source?.from?.() ?? this.#listing.select()) as unknown as Query;
    for (const condition of request.conditions) {
      if (condition !== without) query = query.where(condition.sql(this.#given(request, condition, p)) as never);
    }
    return query as unknown as Compilable<Row>;
  }

  #order(matching: Compilable<Row>, request: ListRequest): Compilable<Row> {
    let query = matching as unknown as Query;
    for (const { field, descending } of request.sort)
      query = query.orderBy(orderedColumn(field, this.#listing.fields) as never, descending ? "desc" : "asc");
    return query as unknown as Compilable<Row>;
  }
}

/** What the conditions of a request depend on, but for their values. */
export function conditionCacheKey(request: ListRequest): string {
  return request.conditions.map((condition) => condition.cacheKey).join("&");
}

/** The same of its conditions and its order. */
export function cacheKeyOf(request: ListRequest): string {
  return `${conditionCacheKey(request)}|${request.sort.map((key) => `${key.descending ? "-" : ""}${key.field}`).join(",")}`;
}

/** A select out of another, whose limit or offset PostgreSQL's planner does not look behind: no plan takes another way. */
function from(rows: Query): Query {
  return records.selectFrom((rows as unknown as SelectQueryBuilder<object, never, object>).as("records")) as unknown as Query;
}

/** How many rows match, without their columns and their order. */
function countOf(matching: Compilable, exact: boolean): Compilable<{ total: number }> {
  const bare = (matching as unknown as Query).clearSelect().select(sql`1`.as("one") as never);
  const limited = exact ? bare : bare.limit(sql.lit(countedAtMost + 1 + countMargin) as never);
  return records
    .selectFrom((limited as unknown as SelectQueryBuilder<object, never, { one: number }>).as("matches"))
    .select((eb) => eb.fn.countAll<number>().as("total"));
}
