import { hash } from "node:crypto";
import type { Principal } from "@cell/http";
import { type Parameters, type Rows, type Statement, StatementCache, type TenantDb, tenantTables } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AliasedSelectQueryBuilder, type Compilable, type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import { z } from "zod";
import { type Condition, parseFilter } from "./filter.ts";
import { type Exposure, readableKinds } from "./masking.ts";
import { remembered } from "./remembered.ts";
import type { Resource } from "./resource.ts";
import { decodeCursor, encodeCursor, keysetCondition, parseSort, type SortKey } from "./sort.ts";

/** How a field's values are compared: the type decides what a filter's value must look like. */
export type FieldType = "text" | "time" | "date" | "number" | "integer" | "boolean" | "uuid" | "texts";

export interface ListField {
  type: FieldType;
  /** It may be sorted by. */
  sort?: boolean;
  /** It may be null, which an order has to reckon with. */
  nullable?: boolean;
}

type Query = SelectQueryBuilder<never, never, object>;

/** What a resource's list can do. */
export interface Listing<Row extends object> {
  resource: Resource<Row>;
  /** The select over the live records, with all the columns of the resource. */
  select(): Compilable<Row>;
  fields: Readonly<Record<string, ListField>>;
  defaultSort: string;
  /** The id's field: breaks ties, so that the order is total. */
  id: string;
  /** The condition that a keyword stands for: a substring, from an index. */
  keyword?: (term: string) => Condition;
  /** The types of the records that a count of matches depends on, each written with an audit entry: then counts are remembered. */
  countsDependOn?: readonly string[];
  /** How its records appear; "list" where nothing is said. */
  exposure?: Exposure;
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
}

const sizes = { fallback: 20, most: 200 };
/** Past this many matches a total is a bound. */
export const countedAtMost = 10_000;

/** The query parameters that every list takes. */
export const listQuery = z.strictObject({
  page: intParam(1, 1_000_000)
    .optional()
    .meta({ description: "From 1", examples: [1] }),
  pageSize: intParam(1, sizes.most)
    .optional()
    .meta({ description: `${sizes.fallback} by default, ${sizes.most} at most`, examples: [20] }),
  cursor: z
    .string()
    .max(2_000)
    .optional()
    .meta({ description: "Where the page before ended (`nextCursor`); empty for the first page. Instead of `page`" }),
  sort: z
    .string()
    .max(200)
    .optional()
    .meta({ description: "Fields, `-` for descending", examples: ["-createdAt,name"] }),
  filter: z
    .string()
    .max(4_000)
    .optional()
    .meta({
      description: "`field[op]:value`, joined by `and`; op: eq ne in gt gte lt lte contains isNull",
      examples: ["status[in]:lead,active and createdAt[gte]:2026-01-01"],
    }),
  keyword: z
    .string()
    .max(200)
    .optional()
    .meta({ description: "Substring search, any case", examples: ["公司"] }),
  ownerId: z
    .string()
    .max(200)
    .optional()
    .meta({ description: "Only this owner's records; `me` for one's own", examples: ["me"] }),
  total: z.enum(["exact"]).optional().meta({ description: "`exact` counts every match, however many" }),
  reveal: z.string().max(200).optional().meta({ description: "Masked fields to show, by comma; needs pii:reveal and is audited" }),
});
export type ListQuery = z.infer<typeof listQuery>;

/** A whole number in a query. */
export function intParam(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,9}$/, "must be a whole number")
    .transform(Number)
    .pipe(z.number().min(min).max(max));
}

/** The schema of a list's answer. */
export function listAnswer(resource: Resource, extra: z.ZodRawShape = {}) {
  return z.object({
    data: z.array(resource.answer),
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

type Values = Record<string, unknown>;

const counting = tenantTables<object>();

/** Runs the lists of one resource: their statements are compiled once for each shape of a request. */
export class Lists<Row extends object> {
  readonly listing: Listing<Row>;
  readonly #pages = new StatementCache<Values, Row>(200);
  readonly #counts = new StatementCache<Values, { total: number }>(200);
  readonly #aggregates = new StatementCache<Values, unknown>(200);

  constructor(listing: Listing<Row>) {
    this.listing = listing;
  }

  /** The conditions and the order that a query asks for, its visibility included. Throws BAD_REQUEST and FIELD_MASKED. */
  resolve(query: ListQuery, caller: Principal, extra: readonly Condition[] = []): ListRequest {
    const { listing } = this;
    const readable = readableKinds(caller);
    const maskedKind = (field: string) => {
      const kind = listing.resource.sensitive[field];
      return kind !== undefined && !readable.has(kind) ? kind : undefined;
    };
    const conditions = [...extra, ...parseFilter(query.filter, listing.fields, maskedKind)];
    const { owner } = listing;
    if (query.ownerId !== undefined) {
      if (!owner) throw badField("ownerId", "UNKNOWN_FIELD", "is not known here");
      conditions.push(equals(owner, query.ownerId === "me" ? caller.userId : query.ownerId));
    }
    if (caller.scope === "own") conditions.push(this.#visibleTo(caller.userId));
    const { keyword } = listing;
    const term = query.keyword?.normalize("NFC").trim();
    if (term) {
      if (!keyword) throw badField("keyword", "UNKNOWN_FIELD", "is not known here");
      conditions.push(keyword(term));
    }
    const sort = parseSort(query.sort ?? listing.defaultSort, listing.fields, listing.id);
    for (const { field } of sort) if (maskedKind(field)) throw masked(field);
    const values: Values = {};
    conditions.forEach((condition, index) => {
      condition.values.forEach((value, at) => {
        values[`c${index}_${at}`] = value;
      });
    });
    return { conditions, sort, values };
  }

  /** One page, with the total of all matches. */
  async page(tenant: TenantDb, request: ListRequest, query: ListQuery): Promise<Page<Row>> {
    const pageSize = query.pageSize ?? sizes.fallback;
    const { sort, values } = request;
    const fingerprint = this.#fingerprint(tenant, query);
    const position = query.cursor ? decodeCursor(query.cursor, fingerprint, sort, this.listing.fields) : undefined;
    if (query.cursor !== undefined && query.page !== undefined) throw badField("cursor", "INVALID_FORMAT", "cannot be combined with page");
    const page = position?.page ?? query.page ?? 1;
    const offset = position ? 0 : (page - 1) * pageSize;
    const cursorValues = position ? Object.fromEntries(position.values.map((value, index) => [`k${index}`, value])) : {};
    const select = this.#pages.get(`${this.#shape(request)}|${position ? "after" : `+${offset > 0}`}|${pageSize}`, (p) =>
      this.#pageQuery(request, p, pageSize, position ? "after" : offset > 0 ? "offset" : "first"),
    );
    const [found, count] = await Promise.all([
      tenant.rows(select, { ...values, ...cursorValues, offset }),
      position ? position : this.#total(tenant, request, query.total === "exact"),
    ]);
    const more = found.length > pageSize;
    const rows = found.first(pageSize);
    const { total, totalIsLowerBound } = count;
    const last = more ? rows.at(-1) : undefined;
    const next =
      last !== undefined
        ? encodeCursor({ fingerprint, page: page + 1, total, totalIsLowerBound, values: sort.map(({ field }) => fieldOf(last, field)) })
        : null;
    return { rows, total, totalIsLowerBound, page, pageSize, nextCursor: next };
  }

  /** The statement for all matches in their order, for exports. */
  all(request: ListRequest): { statement: Statement<Values, Row>; values: Values } {
    return {
      statement: this.#pages.get(`${this.#shape(request)}|all`, (p) => this.#ordered(this.#matching(request, p), request)),
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
    const statement = this.#aggregates.get(`${name}|${this.#conditionShape(request)}`, (p) => {
      const matching = this.#matching(request, p) as unknown as SelectQueryBuilder<object, never, Row>;
      return build(matching.as("matches"));
    });
    return tenant.query(statement as Statement<Values, Result>, request.values);
  }

  /** Closed by default: a list that says nothing of owners shows nothing to who works on its own records. */
  #visibleTo(userId: string): Condition {
    const { owner, visibleTo } = this.listing;
    if (visibleTo) return visibleTo(userId);
    return owner ? equals(owner, userId) : { shape: "nothing", values: [], sql: () => sql<boolean>`false` };
  }

  async #total(tenant: TenantDb, request: ListRequest, exact: boolean): Promise<{ total: number; totalIsLowerBound: boolean }> {
    const shape = `${this.#conditionShape(request)}|${exact}`;
    const statement = this.#counts.get(shape, (p) => countQuery(this.#matching(request, p), exact));
    const count = () => tenant.query(statement, request.values);
    const { countsDependOn } = this.listing;
    const [row] = await (countsDependOn ? remembered(tenant, countsDependOn, [shape, request.values], count) : count());
    const counted = row?.total ?? 0;
    const isBound = !exact && counted > countedAtMost;
    return { total: isBound ? countedAtMost : counted, totalIsLowerBound: isBound };
  }

  #pageQuery(request: ListRequest, p: Parameters<Values>, pageSize: number, start: "first" | "offset" | "after"): Compilable<Row> {
    let query = this.#matching(request, p) as Query;
    if (start === "after") query = query.where(keysetCondition(request.sort, this.listing.fields, p) as never);
    query = this.#ordered(query as never, request) as unknown as Query;
    // A literal limit: as a parameter it would keep PostgreSQL from ever using a generic plan.
    query = query.limit(sql.lit(pageSize + 1) as never);
    if (start === "offset") query = query.offset(sql`${p.offset}::bigint` as never);
    return query as unknown as Compilable<Row>;
  }

  #matching(request: ListRequest, p: Parameters<Values>): Compilable<Row> {
    const from = request.conditions.find((condition) => condition.from);
    let query = (from?.from?.() ?? this.listing.select()) as unknown as Query;
    request.conditions.forEach((condition, index) => {
      query = query.where(condition.sql(condition.values.map((_, at) => p[`c${index}_${at}`] as RawBuilder<unknown>)) as never);
    });
    return query as unknown as Compilable<Row>;
  }

  #ordered(matching: Compilable<Row>, request: ListRequest): Compilable<Row> {
    let query = matching as unknown as Query;
    for (const { field, descending } of request.sort) query = query.orderBy(sql.ref(field) as never, descending ? "desc" : "asc");
    return query as unknown as Compilable<Row>;
  }

  #conditionShape(request: ListRequest): string {
    return request.conditions.map((condition) => condition.shape).join("&");
  }

  #shape(request: ListRequest): string {
    return `${this.#conditionShape(request)}|${request.sort.map((key) => `${key.descending ? "-" : ""}${key.field}`).join(",")}`;
  }

  /** What a cursor is good for: this tenant, this list, this question. */
  #fingerprint(tenant: TenantDb, query: ListQuery): string {
    const { page: _page, cursor: _cursor, pageSize: _size, total: _total, reveal: _reveal, ...question } = query;
    return hash("sha256", JSON.stringify([tenant.tenantId, this.listing.resource.type, question]), "base64url").slice(0, 16);
  }
}

/** How many rows match, without their columns and their order. */
function countQuery(matching: Compilable, exact: boolean): Compilable<{ total: number }> {
  const bare = (matching as unknown as Query).clearSelect().select(sql`1`.as("one") as never);
  const limited = exact ? bare : bare.limit(sql.lit(countedAtMost + 1) as never);
  return counting
    .selectFrom((limited as unknown as SelectQueryBuilder<object, never, { one: number }>).as("matches"))
    .select((eb) => eb.fn.countAll<number>().as("total"));
}

function fieldOf(row: object, field: string): unknown {
  return (row as Record<string, unknown>)[field];
}

/** A condition that a field equals a value. */
export function equals(field: string, value: unknown): Condition {
  return { shape: `${field}=`, values: [value], sql: ([given]) => sql<boolean>`${sql.ref(field)} = ${given}` };
}

/** A substring as a LIKE pattern, in lower case. */
export function likePattern(term: string): string {
  return `%${term.toLowerCase().replace(/[\\%_]/g, "\\$&")}%`;
}

export function masked(field: string): Problem {
  return new Problem("FIELD_MASKED", `${field} is masked for you: it can be compared for equality only`, { details: { field } });
}
