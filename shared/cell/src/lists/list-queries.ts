import { type Parameters, tenantTables } from "@cell/postgres";
import { type Compilable, type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import type { Condition } from "./conditions.ts";
import type { ListDefinition, ListRequest, Values } from "./lists.ts";
import { keysetCondition, orderedColumn } from "./sort.ts";

/** Past this many matches, the total is a lower bound. */
export const countedAtMost = 10_000;
/** Matches counted beyond the bound: the number of changes after which the bound is in doubt. */
export const countMargin = 1_000;
/** Records at the page's beginning that are scanned for a keyword before an index is used. */
export const scanSample = 2_000;

type Query = SelectQueryBuilder<never, never, object>;

/** How a page's rows are found: as PostgreSQL's planner chooses, among the latest records only, or from all matches. */
export type KeywordStrategy = "any" | "latest" | "matches";

/** Where a page begins: at the first match, after an offset, or after a cursor's position. */
export type Start = "first" | "offset" | "after";

const records = tenantTables<object>();

/** The database queries of one resource's lists, for requests of every shape. */
export class ListQueries<Row extends object> {
  readonly #listing: ListDefinition<Row>;

  constructor(listing: ListDefinition<Row>) {
    this.#listing = listing;
  }

  /** The first rows of a page. */
  page(request: ListRequest, p: Parameters<Values>, limit: number, start: Start, strategy: KeywordStrategy): Compilable<Row> {
    const { keyword } = request;
    let query = this.matching(request, p, strategy === "latest" ? keyword : undefined) as unknown as Query;
    if (start === "after") query = query.where(keysetCondition(request.sort, this.#listing.fields, p) as never);
    if (strategy === "latest" && keyword) {
      const latest = this.#order(query as never, request) as unknown as Query;
      query = this.#holding(latest.limit(sql.lit(scanSample) as never), request, keyword, p).select(this.#columns);
    } else if (strategy === "matches") query = from(query.offset(sql.lit(0) as never)).select(this.#columns);
    query = this.#order(query as never, request) as unknown as Query;
    // A literal limit: with a parameter, PostgreSQL would never use a generic plan.
    query = query.limit(sql.lit(limit) as never);
    if (start === "offset") query = query.offset(sql`${p.offset}::bigint` as never);
    return query as unknown as Compilable<Row>;
  }

  /** All matches in order. */
  all(request: ListRequest, p: Parameters<Values>): Compilable<Row> {
    return this.#order(this.matching(request, p), request);
  }

  /** Number of matches: up to the bound and its margin, or exact. */
  count(request: ListRequest, p: Parameters<Values>, exact: boolean): Compilable<{ total: number }> {
    return countOf(this.matching(request, p), exact);
  }

  /** Number of records among the first `scanned` that contain the keyword, without an index. */
  countWithin(request: ListRequest, p: Parameters<Values>, keyword: Condition, scanned: number): Compilable<{ total: number }> {
    const first = (this.matching(request, p, keyword) as unknown as Query).clearSelect().limit(sql.lit(scanned) as never);
    return countOf(this.#holding(first, request, keyword, p) as never, false);
  }

  /** The records among these that contain the keyword. */
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

  /** The select with all conditions, or all except one. */
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

/** Identifies the conditions of a request, without their values. */
export function conditionCacheKey(request: ListRequest): string {
  return request.conditions.map((condition) => condition.cacheKey).join("&");
}

/** Identifies the conditions and the order of a request. */
export function cacheKeyOf(request: ListRequest): string {
  return `${conditionCacheKey(request)}|${request.sort.map((key) => `${key.descending ? "-" : ""}${key.field}`).join(",")}`;
}

/** A select from a subquery with a limit or an offset, which PostgreSQL's planner cannot flatten: it fixes the plan. */
function from(rows: Query): Query {
  return records.selectFrom((rows as unknown as SelectQueryBuilder<object, never, object>).as("records")) as unknown as Query;
}

/** Counts the matches, without their columns and their order. */
function countOf(matching: Compilable, exact: boolean): Compilable<{ total: number }> {
  const bare = (matching as unknown as Query).clearSelect().select(sql`1`.as("one") as never);
  const limited = exact ? bare : bare.limit(sql.lit(countedAtMost + 1 + countMargin) as never);
  return records
    .selectFrom((limited as unknown as SelectQueryBuilder<object, never, { one: number }>).as("matches"))
    .select((eb) => eb.fn.countAll<number>().as("total"));
}
