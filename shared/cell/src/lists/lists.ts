import { hash } from "node:crypto";
import type { Principal } from "@cell/http";
import { type Parameters, type Rows, type Statement, StatementCache, type Tenant, type TenantDb } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AliasedSelectQueryBuilder, type Compilable, sql } from "kysely";
import { LRUCache } from "lru-cache";
import { cachedQuery } from "../cache/query-cache.ts";
import { maskedField, readableKinds } from "../schema/masking.ts";
import { type Condition, equals } from "./conditions.ts";
import type { CursorOrder, Cursors } from "./cursor.ts";
import { filterConditions } from "./filter.ts";
import { folded } from "./fold.ts";
import { KeywordSearch } from "./keyword-search.ts";
import { cacheKeyOf, conditionCacheKey, countedAtMost, type KeywordStrategy, ListQueries, type Start } from "./list-queries.ts";
import { type ListQuery, pageSizes } from "./list-query.ts";
import type { ListDefinition, ListRequest, Values } from "./list-types.ts";
import { parseSort } from "./sort.ts";

/** Size limit of a page's rows; one row always fits. */
const pageBytes = 4 * 1024 * 1024;
/** Rows of the first read, before the size of a tenant's rows is known. */
const firstChunk = 25;
/** A filter with more conditions, or with alternatives, seldom recurs in the same shape. */
const commonConditions = 4;
export interface Page<Row> {
  rows: Rows<Row>;
  total: number;
  totalIsLowerBound: boolean;
  page: number;
  pageSize: number;
  nextCursor: string | null;
}

/** The size and start of a requested page. */
interface AskedPage {
  pageSize: number;
  start: Start;
  fingerprint: string;
  values: Values;
}

/** The rows of one read. */
interface AskedRows extends Pick<AskedPage, "start" | "values"> {
  strategy: KeywordStrategy;
  limit: number;
  maxBytes: number;
}

/** Runs the lists of one resource; their statements are compiled once per shape of a request. */
export class ListRunner<Row extends object> {
  readonly definition: ListDefinition<Row>;
  readonly #queries: ListQueries<Row>;
  readonly #pages = new StatementCache<Values, Row>(200);
  readonly #counts: StatementCache<Values, { total: number }>;
  readonly #aggregates = new StatementCache<Values, unknown>(200);
  /** Row size of each tenant on the last page. */
  readonly #rowBytes = new LRUCache<string, number>({ max: 10_000 });
  readonly #keywords = new KeywordSearch();

  constructor(definition: ListDefinition<Row>) {
    this.definition = definition;
    this.#queries = new ListQueries(definition);
    // Cached counts run rarely and are planned for their values: how common a keyword is decides the best plan.
    this.#counts = new StatementCache(definition.countsDependOn ? 0 : 200);
  }

  /** The conditions and the order of a query, visibility included. Throws BAD_REQUEST and FIELD_MASKED. */
  async resolve(tenant: Tenant, query: ListQuery, caller: Principal, extra: readonly Condition[] = []): Promise<ListRequest> {
    const { definition } = this;
    const readable = readableKinds(caller);
    const maskedKind = (field: string) => {
      const kind = definition.resource.sensitive[field];
      return kind !== undefined && !readable.has(kind) ? kind : undefined;
    };
    const filter = await filterConditions(query.filter, { fields: definition.fields, keyword: definition.keyword, tenant, maskedKind });
    const conditions = [...extra, ...filter];
    const { owner } = definition;
    if (query.ownerId !== undefined) {
      if (!owner) throw badField("ownerId", "UNKNOWN_FIELD", "is an unknown field");
      conditions.push(equals(owner, query.ownerId === "me" ? caller.userId : query.ownerId));
    }
    if (caller.scope === "own") conditions.push(this.#visibleTo(caller.userId));
    const { keyword } = definition;
    const term = query.keyword;
    if (term && !keyword) throw badField("keyword", "UNKNOWN_FIELD", "is an unknown field");
    const [searched] = term ? await folded(tenant.reader(), [term]) : [];
    const keywordCondition = searched ? keyword?.(searched) : undefined;
    const isPlain = extra.length === 0 && query.filter === undefined && (query.sort ?? definition.defaultSort) === definition.defaultSort;
    if (keywordCondition) conditions.push(keywordCondition);
    const sort = parseSort(query.sort ?? definition.defaultSort, definition.fields, definition.id);
    for (const { field } of sort) if (maskedKind(field)) throw maskedField(field);
    const values: Values = {};
    conditions.forEach((condition, index) => {
      condition.values.forEach((value, at) => {
        values[`c${index}_${at}`] = value;
      });
    });
    const isCommon = filter.length <= commonConditions && !filter.some(({ cacheKey }) => cacheKey.includes("|"));
    return { conditions, sort, values, isCommon, keyword: isPlain ? keywordCondition : undefined };
  }

  /**
   * One page, with the total of all matches. Keyset pagination by cursor gets fewer rows if they are large; a numbered page fails with
   * PAYLOAD_TOO_LARGE, since the next one would skip rows. Without `cursors` there is no next page.
   */
  async page(tenant: TenantDb, request: ListRequest, query: ListQuery, cursors?: Cursors): Promise<Page<Row>> {
    const pageSize = query.pageSize ?? pageSizes.fallback;
    if (query.cursor !== undefined && query.page !== undefined) throw badField("cursor", "INVALID_FORMAT", "cannot be combined with page");
    const fingerprint = this.#fingerprint(tenant, query);
    const order = this.#orderOf(request);
    const position = query.cursor ? cursors?.decode(query.cursor, fingerprint, order) : undefined;
    const page = position?.page ?? query.page ?? 1;
    const offset = position ? 0 : (page - 1) * pageSize;
    const start: Start = position ? "after" : offset > 0 ? "offset" : "first";
    const cursorValues = position ? Object.fromEntries(position.values.map((value, index) => [`k${index}`, value])) : {};
    const [found, count] = await Promise.all([
      this.#find(tenant, request, { pageSize, start, fingerprint, values: { ...request.values, ...cursorValues, offset } }),
      position ? position : this.#total(tenant, request, query.total === "exact"),
    ]);
    const rows = found.first(pageSize);
    const { total, totalIsLowerBound } = count;
    if (found.isCut && rows.length < pageSize && query.cursor === undefined) throw tooLarge(rows.length);
    if (request.keyword) this.#keywords.observe(fingerprint, total);
    let nextCursor: string | null = null;
    if (cursors && (found.length > pageSize || found.isCut)) {
      const values = request.sort.map(({ field }) => rows.value(rows.length - 1, field));
      nextCursor = cursors.encode({ fingerprint, page: page + 1, total, totalIsLowerBound, values }, order);
    }
    return { rows, total, totalIsLowerBound, page, pageSize, nextCursor };
  }

  /** The rows of a page, and one more if there are more. */
  async #find(tenant: TenantDb, request: ListRequest, asked: AskedPage): Promise<Rows<Row>> {
    const { pageSize, start, fingerprint } = asked;
    const wanted = pageSize + 1;
    if (!request.keyword || start === "offset") return this.#inChunks(tenant, request, asked, wanted);
    return this.#keywords.rows(fingerprint, wanted, (strategy) =>
      this.#read(tenant, request, { ...asked, strategy, limit: wanted, maxBytes: pageBytes }),
    );
  }

  /** Reads the wanted rows, large ones in chunks: rows that do not fit into the page are mostly not read. */
  async #inChunks(tenant: TenantDb, request: ListRequest, asked: AskedPage, wanted: number): Promise<Rows<Row>> {
    const { tenantId } = tenant;
    let rows: Rows<Row> | undefined;
    for (let [start, values] = [asked.start, asked.values]; ; ) {
      const taken = rows?.length ?? 0;
      const left = pageBytes - (rows?.size ?? 0);
      const rowBytes = rows && taken > 0 ? rows.size / taken : this.#rowBytes.get(tenantId);
      const fitting = chunkOf(rowBytes, wanted - taken, left);
      const limit = rows ? fitting : Math.max(1, fitting);
      // If no further row fits, the next one is only looked up.
      const next = await this.#read(tenant, request, { start, values, strategy: "any", limit: Math.max(limit, 1), maxBytes: left });
      if (rows && limit < 1) rows = next.length > 0 ? rows.cut() : rows;
      else rows = rows ? rows.followedBy(next) : next;
      if (next.length < limit || limit < 1 || rows.length >= wanted) break;
      start = "after";
      values = { ...values, ...this.#keysOf(request, rows) };
    }
    if (rows.length > 0) this.#rowBytes.set(tenantId, rows.size / rows.length);
    return rows;
  }

  #read(tenant: TenantDb, request: ListRequest, { start, values, strategy, limit, maxBytes }: AskedRows): Promise<Rows<Row>> {
    const shape = `${cacheKeyOf(request)}|${start}|${strategy}|${limit}`;
    const select = this.#pages.get(shape, (p) => this.#queries.page(request, p, limit, start, strategy), request.isCommon);
    return tenant.rows(select, values, maxBytes);
  }

  /** The sort keys of the last row, as a keyset's values. */
  #keysOf({ sort }: ListRequest, rows: Rows<Row>): Values {
    return Object.fromEntries(sort.map(({ field }, index) => [`k${index}`, rows.value(rows.length - 1, field)]));
  }

  #orderOf({ sort }: ListRequest): CursorOrder {
    const { fields, resource } = this.definition;
    return { sort, fields, isSensitive: sort.some(({ field }) => resource.sensitive[field] !== undefined) };
  }

  /** The statement for all matches in order, for exports. */
  all(request: ListRequest): { statement: Statement<Values, Row>; values: Values } {
    return {
      statement: this.#pages.get(`${cacheKeyOf(request)}|all`, (p) => this.#queries.all(request, p), request.isCommon),
      values: request.values,
    };
  }

  /** An aggregate over all matches, such as sums by currency, under the page's conditions. `name` identifies the aggregate. */
  aggregate<Result>(
    tenant: TenantDb,
    request: ListRequest,
    name: string,
    build: (matches: AliasedSelectQueryBuilder<Row, "matches">) => Compilable<Result>,
  ): Promise<Result[]> {
    const sum = (p: Parameters<Values>) => build(this.#queries.matching(request, p).as("matches"));
    const statement = this.#aggregates.get(`${name}|${conditionCacheKey(request)}`, sum, request.isCommon);
    return tenant.query(statement as Statement<Values, Result>, request.values);
  }

  /** Closed by default: a list without an owner field shows nothing to callers limited to their own records. */
  #visibleTo(userId: string): Condition {
    const { owner, visibleTo } = this.definition;
    if (visibleTo) return visibleTo(userId);
    return owner ? equals(owner, userId) : { cacheKey: "nothing", values: [], sql: () => sql<boolean>`false` };
  }

  async #total(tenant: TenantDb, request: ListRequest, exact: boolean): Promise<{ total: number; totalIsLowerBound: boolean }> {
    const shape = `${conditionCacheKey(request)}|${exact}`;
    const count = () => this.#count(tenant, request, exact);
    const { countsDependOn } = this.definition;
    const [row] = await (countsDependOn
      ? cachedQuery(tenant, countsDependOn, [shape, request.values], count, ([found]) => this.#toleratedChanges(found?.total ?? 0, exact))
      : count());
    const counted = row?.total ?? 0;
    const isBound = !exact && counted > countedAtMost;
    return { total: isBound ? countedAtMost : counted, totalIsLowerBound: isBound };
  }

  /** Counts the matches; those of a frequent keyword by scanning. */
  async #count(tenant: TenantDb, request: ListRequest, exact: boolean): Promise<{ total: number }[]> {
    const { keyword } = request;
    if (keyword && !exact) {
      const total = await this.#keywords.scannedTotal(async (scanned) => {
        const within = this.#counts.get(`${conditionCacheKey(request)}|${scanned}`, (p) =>
          this.#queries.countWithin(request, p, keyword, scanned),
        );
        return (await tenant.first(within, request.values))?.total ?? 0;
      });
      if (total !== undefined) return [{ total }];
    }
    const statement = this.#counts.get(
      `${conditionCacheKey(request)}|${exact}`,
      (p) => this.#queries.count(request, p, exact),
      request.isCommon,
    );
    return tenant.query(statement, request.values);
  }

  /** Number of changes a lower-bound count tolerates before it must be recounted. */
  #toleratedChanges(counted: number, exact: boolean): number {
    const { countsDependOn = [], resource } = this.definition;
    // One change to a record of another type may decide about many of this one.
    const isAlone = countsDependOn.every((type) => type === resource.type);
    return isAlone && !exact ? Math.max(0, counted - countedAtMost - 1) : 0;
  }

  /** Identifies the tenant, list and query of a cursor. */
  #fingerprint(tenant: TenantDb, query: ListQuery): string {
    const { page: _page, cursor: _cursor, pageSize: _size, total: _total, reveal: _reveal, ...question } = query;
    return hash("sha256", JSON.stringify([tenant.tenantId, this.definition.resource.type, question]), "base64url").slice(0, 16);
  }
}

/** Number of rows of the next read: all wanted ones, unless they may exceed `left` bytes or their size is unknown. */
function chunkOf(rowBytes: number | undefined, wanted: number, left: number): number {
  if (rowBytes === undefined) return Math.min(wanted, firstChunk);
  if (rowBytes * wanted <= left) return wanted;
  // Powers of two, since each number compiles to its own statement; 0 if no row fits.
  return left < rowBytes ? 0 : 2 ** Math.floor(Math.log2(left / rowBytes));
}

function tooLarge(fitting: number): Problem {
  return new Problem(
    "PAYLOAD_TOO_LARGE",
    `These records are so large that a page holds ${fitting} of them: use pageSize=${fitting} or less, or page by cursor, which shortens each page to fit`,
    { details: { pageSize: fitting } },
  );
}
