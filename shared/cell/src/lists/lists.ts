import { hash } from "node:crypto";
import type { Principal } from "@cell/http";
import { type Parameters, type Rows, type Statement, StatementCache, type Tenant, type TenantDb } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AliasedSelectQueryBuilder, type Compilable, type SelectQueryBuilder, sql } from "kysely";
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { cachedQuery } from "../cache/query-cache.ts";
import { text } from "../schema/fields.ts";
import { maskedField, type ResponseKind, readableKinds } from "../schema/masking.ts";
import type { Resource } from "../schema/resource.ts";
import { type Condition, equals } from "./conditions.ts";
import type { CursorOrder, Cursors } from "./cursor.ts";
import type { ListFields } from "./field-types.ts";
import { filterConditions } from "./filter.ts";
import { filterLimits } from "./filter-syntax.ts";
import { folded } from "./fold.ts";
import { intParam } from "./list-parameters.ts";
import {
  cacheKeyOf,
  conditionCacheKey,
  countedAtMost,
  countMargin,
  type KeywordStrategy,
  ListQueries,
  type Start,
  scanSample,
} from "./list-queries.ts";
import { parseSort, type SortKey } from "./sort.ts";

/** What a resource's list can do. */
export interface ListDefinition<Row extends object> {
  resource: Resource<Row>;
  /** The select over the live records, with all the columns of the resource. */
  select(): Compilable<Row>;
  fields: ListFields;
  defaultSort: string;
  /** The id's field: breaks ties, so that the order is total. */
  id: string;
  /** The condition that a keyword, folded, stands for: a substring, from an index. */
  keyword?: (folded: string) => Condition;
  /** The types of the records that a count of matches depends on, each written with an audit entry: then counts are remembered. */
  countsDependOn?: readonly string[];
  /** How its records appear; "list" where nothing is said. */
  responseKind?: ResponseKind;
  /** The field that `ownerId=` compares. */
  owner?: string;
  /** What a caller of scope `own` may see; by default what its `owner` field says. */
  visibleTo?: (userId: string) => Condition;
}

/** One request for a list, resolved: what the statement depends on, and its values. */
export interface ListRequest {
  conditions: Condition[];
  sort: SortKey[];
  values: Record<string, unknown>;
  /** Others ask alike: its statements are worth keeping. */
  isCommon: boolean;
  /** The keyword's condition, where the list's own order is asked for: then an index gives the records in which it is looked for. */
  keyword?: Condition | undefined;
}

const sizes = { fallback: 20, most: 200 };
/** A page holds so many bytes of rows at most, but one row at least. */
const pageBytes = 4 * 1024 * 1024;
/** So many rows are read before it is known how large a tenant's rows are. */
const firstChunk = 25;
/** A filter of more conditions, or with alternatives, is seldom asked again in the same shape. */
const commonConditions = 4;
/** With at most so many matches a keyword's index is the shorter way. */
const rareThreshold = 1_000;
/** A keyword that so many of `lookedAt` records hold is counted in the records themselves, in so many at most. */
const frequentThreshold = { among: scanSample / 5, scanned: 80_000 };

/** The query parameters that every list takes. */
export const listQuery = z.strictObject({
  page: intParam(1, 1_000_000)
    .optional()
    .meta({ description: "From 1", examples: [1] }),
  pageSize: intParam(1, sizes.most)
    .optional()
    .meta({
      description: `${sizes.fallback} by default, ${sizes.most} at most. Of records larger than 4 MB together 413 names a size that fits`,
      examples: [20],
    }),
  cursor: z.string().max(2_000).optional().meta({
    description:
      "Where the page before ended (`nextCursor`); empty for the first page. Instead of `page`. A page of large records may hold fewer than `pageSize`",
  }),
  sort: z
    .string()
    .max(200)
    .optional()
    .meta({ description: "Fields, `-` for descending", examples: ["-createdAt,name"] }),
  filter: text(4_000)
    .optional()
    .meta({
      description: `\`field[op]:value\`, joined by \`and\`, \`or\` and parentheses; \`and\` binds tighter. op: eq ne in gt gte lt lte contains isNull.
A value that holds " and ", " or " or a parenthesis stands in double quotes, in which \`\\"\` and \`\\\\\` stand for themselves; \`in\` takes values by comma.
A date stands for the tenant's day: \`[eq]\` that day, \`[lte]\` with it, \`[gt]\` after it. A value that a field cannot have is 400 naming those that it
can. At most ${filterLimits.conditions} conditions, parentheses ${filterLimits.depth} deep. What the caller may not read takes isNull alone`,
      examples: [
        "status[in]:lead,active and createdAt[gte]:2026-01-01",
        '(level[eq]:A or tags[eq]:vip) and name[contains]:"Black and White"',
      ],
    }),
  keyword: text(200)
    .optional()
    .meta({ description: "Substring search, any case", examples: ["公司"] }),
  ownerId: text(200, 1)
    .optional()
    .meta({ description: "Only this owner's records; `me` for one's own", examples: ["me"] }),
  total: z.enum(["exact"]).optional().meta({ description: "`exact` counts every match, however many" }),
  reveal: z
    .string()
    .max(200)
    .optional()
    .meta({
      description:
        "Masked fields to show, by comma; `amount` for every amount and what follows from it. Amounts need amount:read, all others pii:reveal, and are audited",
      examples: ["amount"],
    }),
});
export type ListQuery = z.infer<typeof listQuery>;

/** The schema of a list's answer. */
export function listResponse(resource: Resource, extra: z.ZodRawShape = {}) {
  return z.object({
    data: z.array(resource.responseSchema),
    total: z.int().meta({ description: "Matches in all; a bound when totalIsLowerBound" }),
    totalIsLowerBound: z.literal(true).optional(),
    page: z.int(),
    pageSize: z.int(),
    nextCursor: z.string().nullable().meta({ description: "Give it as `cursor` for the next page; null at the end" }),
    ...extra,
  });
}

export interface Page<Row> {
  rows: Rows<Row>;
  total: number;
  totalIsLowerBound: boolean;
  page: number;
  pageSize: number;
  nextCursor: string | null;
}

/** A page that is asked for: its size, and where it begins. */
interface AskedPage {
  pageSize: number;
  start: Start;
  fingerprint: string;
  values: Values;
}

/** Rows that are asked for at once. */
interface AskedRows extends Pick<AskedPage, "start" | "values"> {
  strategy: KeywordStrategy;
  limit: number;
  maxBytes: number;
}

/** A statement's values by name. */
export type Values = Record<string, unknown>;

/** Runs the lists of one resource: their statements are compiled once for each shape of a request. */
export class ListRunner<Row extends object> {
  readonly definition: ListDefinition<Row>;
  readonly #queries: ListQueries<Row>;
  readonly #pages = new StatementCache<Values, Row>(200);
  readonly #counts: StatementCache<Values, { total: number }>;
  readonly #aggregates = new StatementCache<Values, unknown>(200);
  /** How large a row of each tenant was in the page that was read last. */
  readonly #rowBytes = new LRUCache<string, number>({ max: 10_000 });
  /** Questions whose matches were few when they were asked last. */
  readonly #rareKeywords = new LRUCache<string, true>({ max: 10_000 });

  constructor(definition: ListDefinition<Row>) {
    this.definition = definition;
    this.#queries = new ListQueries(definition);
    // Counts that are remembered are planned for their values, each time: how common a keyword is decides which way is short.
    this.#counts = new StatementCache(definition.countsDependOn ? 0 : 200);
  }

  /** The conditions and the order that a query asks for, its visibility included. Throws BAD_REQUEST and FIELD_MASKED. */
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
      if (!owner) throw badField("ownerId", "UNKNOWN_FIELD", "is not known here");
      conditions.push(equals(owner, query.ownerId === "me" ? caller.userId : query.ownerId));
    }
    if (caller.scope === "own") conditions.push(this.#visibleTo(caller.userId));
    const { keyword } = definition;
    const term = query.keyword;
    if (term && !keyword) throw badField("keyword", "UNKNOWN_FIELD", "is not known here");
    const [searched] = term ? await folded(tenant.reader(), [term]) : [];
    const sought = searched ? keyword?.(searched) : undefined;
    const isPlain = extra.length === 0 && query.filter === undefined && (query.sort ?? definition.defaultSort) === definition.defaultSort;
    if (sought) conditions.push(sought);
    const sort = parseSort(query.sort ?? definition.defaultSort, definition.fields, definition.id);
    for (const { field } of sort) if (maskedKind(field)) throw maskedField(field);
    const values: Values = {};
    conditions.forEach((condition, index) => {
      condition.values.forEach((value, at) => {
        values[`c${index}_${at}`] = value;
      });
    });
    const isCommon = filter.length <= commonConditions && !filter.some(({ cacheKey }) => cacheKey.includes("|"));
    return { conditions, sort, values, isCommon, keyword: isPlain ? sought : undefined };
  }

  /**
   * One page, with the total of all matches. A walk by cursor gets fewer rows where they are large; a numbered page is refused with
   * PAYLOAD_TOO_LARGE, since the next one would leave rows out. Without `cursors` there is no next page.
   */
  async page(tenant: TenantDb, request: ListRequest, query: ListQuery, cursors?: Cursors): Promise<Page<Row>> {
    const pageSize = query.pageSize ?? sizes.fallback;
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
    if (request.keyword && total <= rareThreshold) this.#rareKeywords.set(fingerprint, true);
    else if (request.keyword) this.#rareKeywords.delete(fingerprint);
    let nextCursor: string | null = null;
    if (cursors && (found.length > pageSize || found.isCut)) {
      const values = request.sort.map(({ field }) => rows.value(rows.length - 1, field));
      nextCursor = cursors.encode({ fingerprint, page: page + 1, total, totalIsLowerBound, values }, order);
    }
    return { rows, total, totalIsLowerBound, page, pageSize, nextCursor };
  }

  /** The rows of a page, and one more where there are more. */
  async #find(tenant: TenantDb, request: ListRequest, asked: AskedPage): Promise<Rows<Row>> {
    const { pageSize, start, fingerprint } = asked;
    const wanted = pageSize + 1;
    if (!request.keyword || start === "offset") return this.#inChunks(tenant, request, asked, wanted);
    const read = (strategy: KeywordStrategy) => this.#read(tenant, request, { ...asked, strategy, limit: wanted, maxBytes: pageBytes });
    const latest = this.#rareKeywords.has(fingerprint) ? undefined : await read("latest");
    return latest && (latest.length === wanted || latest.isCut) ? latest : read("matches");
  }

  /** As many rows as are wanted, of a tenant's large ones in portions: what does not fit into a page is hardly read. */
  async #inChunks(tenant: TenantDb, request: ListRequest, asked: AskedPage, wanted: number): Promise<Rows<Row>> {
    const { tenantId } = tenant;
    let rows: Rows<Row> | undefined;
    for (let [start, values] = [asked.start, asked.values]; ; ) {
      const taken = rows?.length ?? 0;
      const left = pageBytes - (rows?.size ?? 0);
      const rowBytes = rows && taken > 0 ? rows.size / taken : this.#rowBytes.get(tenantId);
      const fitting = chunkOf(rowBytes, wanted - taken, left);
      const limit = rows ? fitting : Math.max(1, fitting);
      // Where not one row more fits, the next one is looked for and not taken.
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

  /** The statement for all matches in their order, for exports. */
  all(request: ListRequest): { statement: Statement<Values, Row>; values: Values } {
    return {
      statement: this.#pages.get(`${cacheKeyOf(request)}|all`, (p) => this.#queries.all(request, p), request.isCommon),
      values: request.values,
    };
  }

  /** What all matches come to, such as sums by currency: under the conditions of the page, so that both speak of the same rows. `name` tells one question from another. */
  aggregate<Result>(
    tenant: TenantDb,
    request: ListRequest,
    name: string,
    build: (matches: AliasedSelectQueryBuilder<Row, "matches">) => Compilable<Result>,
  ): Promise<Result[]> {
    const sum = (p: Parameters<Values>) => {
      const matching = this.#queries.matching(request, p) as unknown as SelectQueryBuilder<object, never, Row>;
      return build(matching.as("matches"));
    };
    const statement = this.#aggregates.get(`${name}|${conditionCacheKey(request)}`, sum, request.isCommon);
    return tenant.query(statement as Statement<Values, Result>, request.values);
  }

  /** Closed by default: a list that says nothing of owners shows nothing to who works on its own records. */
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

  /** Counts the matches. Which way is the shorter depends on how common a keyword is, which is tried out on a few records. */
  async #count(tenant: TenantDb, request: ListRequest, exact: boolean): Promise<{ total: number }[]> {
    const { keyword } = request;
    if (keyword && !exact) {
      const within = async (scanned: number) => {
        const statement = this.#counts.get(`${conditionCacheKey(request)}|${scanned}`, (p) =>
          this.#queries.countWithin(request, p, keyword, scanned),
        );
        return (await tenant.first(statement, request.values))?.total ?? 0;
      };
      const total = (await within(scanSample)) > frequentThreshold.among ? await within(frequentThreshold.scanned) : 0;
      if (total > countedAtMost + countMargin) return [{ total }];
    }
    const statement = this.#counts.get(
      `${conditionCacheKey(request)}|${exact}`,
      (p) => this.#queries.count(request, p, exact),
      request.isCommon,
    );
    return tenant.query(statement, request.values);
  }

  /** How many records may change before a count no longer tells what it told. */
  #toleratedChanges(counted: number, exact: boolean): number {
    const { countsDependOn = [], resource } = this.definition;
    // A record of another type may decide over many of this one.
    const isAlone = countsDependOn.every((type) => type === resource.type);
    return isAlone && !exact ? Math.max(0, counted - countedAtMost - 1) : 0;
  }

  /** What a cursor is good for: this tenant, this list, this question. */
  #fingerprint(tenant: TenantDb, query: ListQuery): string {
    const { page: _page, cursor: _cursor, pageSize: _size, total: _total, reveal: _reveal, ...question } = query;
    return hash("sha256", JSON.stringify([tenant.tenantId, this.definition.resource.type, question]), "base64url").slice(0, 16);
  }
}

/** A substring as a LIKE pattern. */
export function likePattern(folded: string): string {
  return `%${folded.replace(/[\\%_]/g, "\\$&")}%`;
}

/** How many rows are read at once: all that are wanted, unless they are so large that `left` bytes do not hold them, or of unknown size. */
function chunkOf(rowBytes: number | undefined, wanted: number, left: number): number {
  if (rowBytes === undefined) return Math.min(wanted, firstChunk);
  if (rowBytes * wanted <= left) return wanted;
  // Powers of two, since each number makes a statement of its own; 0 where not one row fits.
  return left < rowBytes ? 0 : 2 ** Math.floor(Math.log2(left / rowBytes));
}

function tooLarge(fitting: number): Problem {
  return new Problem(
    "PAYLOAD_TOO_LARGE",
    `These records are so large that a page holds ${fitting} of them: ask for pageSize=${fitting} or less, or walk by cursor, which ends each page in time`,
    { details: { pageSize: fitting } },
  );
}
