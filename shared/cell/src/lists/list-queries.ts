import { type Parameters, tenantTables } from "@cell/postgres";
import { type Compilable, type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import type { Condition } from "./conditions.ts";
import type { ListDefinition, ListRequest, Values } from "./list-types.ts";
import { keysetCondition, orderedColumn } from "./sort.ts";

/** Past this many matches, the total is a lower bound. */
export const countedAtMost = 10_000;
/** Matches counted beyond the bound: the number of changes after which the bound is in doubt. */
export const countMargin = 1_000;
/** Records at the page's beginning that are scanned for a keyword before an index is used. */
export const scanSample = 2_000;

/** How a page's rows are found: as PostgreSQL's planner chooses, among the latest records only, or from all matches. */
export type KeywordStrategy = "any" | "latest" | "matches";

/** Where a page begins: at the first match, after an offset, or after a cursor's position. */
export type Start = "first" | "offset" | "after";

/** A list's records as their filters and orders see them: columns that the list's definition names, not the types of its tables. */
interface Records {
  records: Record<string, unknown>;
}
type RecordSelect<Row> = SelectQueryBuilder<Records, "records", Row>;
const records = tenantTables<Records>();

/** The database queries of one resource's lists, for requests of every shape. */
export class ListQueries<Row extends object> {
  readonly #listing: ListDefinition<Row>;
  readonly #columns: readonly string[];

  constructor(listing: ListDefinition<Row>) {
    this.#listing = listing;
    this.#columns = listing.resource.fields.filter((field) => field !== "tenantId");
  }

  /** The first rows of a page. */
  page(request: ListRequest, p: Parameters<Values>, limit: number, start: Start, strategy: KeywordStrategy): Compilable<Row> {
    const { keyword } = request;
    let query = this.matching(request, p, strategy === "latest" ? keyword : undefined);
    if (start === "after") query = query.where(keysetCondition(request.sort, this.#listing.fields, p));
    if (strategy === "latest" && keyword) {
      const latest = this.#order(query, request).limit(sql.lit(scanSample));
      query = this.#rowsOf(this.#holding(latest, request, keyword, p));
    } else if (strategy === "matches") query = this.#rowsOf(from(query.offset(sql.lit(0))));
    // A literal limit: with a parameter, PostgreSQL would never use a generic plan.
    query = this.#order(query, request).limit(sql.lit(limit));
    return start === "offset" ? query.offset(sql<number>`${p.offset}::bigint`) : query;
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
    const first = this.matching(request, p, keyword).clearSelect().limit(sql.lit(scanned));
    return countOf(this.#holding(first, request, keyword, p), false);
  }

  /** The records among these that contain the keyword. */
  #holding(records: RecordSelect<object>, request: ListRequest, keyword: Condition, p: Parameters<Values>): RecordSelect<object> {
    const values = this.#given(request, keyword, p);
    return from(records.select("search")).where(keyword.matchesRow?.(values) ?? keyword.sql(values));
  }

  /** The resource's columns of a select without any. */
  #rowsOf(records: RecordSelect<object>): RecordSelect<Row> {
    return records.select(this.#columns).$castTo<Row>();
  }

  #given(request: ListRequest, condition: Condition, p: Parameters<Values>): RawBuilder<unknown>[] {
    const index = request.conditions.indexOf(condition);
    return condition.values.map((_, at) => p[`c${index}_${at}`] as RawBuilder<unknown>);
  }

  /** The select with all conditions, or all except one. */
  matching(request: ListRequest, p: Parameters<Values>, without?: Condition): RecordSelect<Row> {
    const source = request.conditions.find((condition) => condition.from);
    let query = recordSelect<Row>(source?.from?.() ?? this.#listing.select());
    for (const condition of request.conditions) {
      if (condition !== without) query = query.where(condition.sql(this.#given(request, condition, p)));
    }
    return query;
  }

  #order(matching: RecordSelect<Row>, request: ListRequest): RecordSelect<Row> {
    return request.sort.reduce(
      (query, { field, descending }) => query.orderBy(orderedColumn(field, this.#listing.fields), descending ? "desc" : "asc"),
      matching,
    );
  }
}

/** A list's select, which its slice builds on tables that this package does not know. */
function recordSelect<Row>(select: Compilable<unknown>): RecordSelect<Row> {
  // Kysely's builders are invariant in their tables, so that none is another's supertype.
  return select as unknown as RecordSelect<Row>;
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
function from(rows: RecordSelect<object>): RecordSelect<object> {
  return records.selectFrom(rows.$castTo<Records["records"]>().as("records"));
}

/** Counts the matches, without their columns and their order. */
function countOf(matching: RecordSelect<object>, exact: boolean): Compilable<{ total: number }> {
  const bare = matching.clearSelect().select(sql`1`.as("one"));
  const limited = exact ? bare : bare.limit(sql.lit(countedAtMost + 1 + countMargin));
  return records.selectFrom(limited.as("matches")).select((eb) => eb.fn.countAll<number>().as("total"));
}
