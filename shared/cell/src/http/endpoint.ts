import {
  closedPolicy,
  type HttpBindings,
  insufficientScope,
  type Permission,
  type Principal,
  type RoutePolicy,
  trimmed,
  trimTexts,
} from "@cell/http";
import type { Tenant } from "@cell/postgres";
import { badFields, notFound } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import type { Context } from "hono";
import { getQueryParams } from "hono/utils/url";
import { z } from "zod";
import { id } from "../schema/fields.ts";
import type { Presenter } from "../schema/resource.ts";

export type Method = "get" | "post" | "patch" | "put" | "delete";

type Schema = z.ZodType | undefined;
type Output<S extends Schema> = S extends z.ZodType ? z.output<S> : undefined;

/** The example of a route, where the examples of its fields make none or a poor one. */
export interface EndpointExample {
  /** The whole body. */
  body?: unknown;
  /** The fields of the answer that differ. */
  response?: unknown;
  /** The answer as CSV. */
  file?: string;
  /** The body as CSV. */
  upload?: string;
}

/** What a route takes and gives; the document, the checks and the types of its handler all come out of it. */
export interface Endpoint<
  Params extends Schema = Schema,
  Query extends Schema = Schema,
  Body extends Schema = Schema,
  Row extends object = object,
> {
  method: Method;
  /** With parameters in braces: `/customers/{id}`. */
  path: string;
  /** Where the rule (`@cell/http/openapi/operation-ids`) would give no good one: `resource.verb`. */
  operationId?: string;
  /** Null for a route that is open to credentials without permissions, such as `public`. */
  permission: Permission | null;
  /** What differs from the gateway's `closedPolicy`; it is published as `x-gateway`. */
  gateway?: Partial<RoutePolicy>;
  tag: string;
  summary: string;
  description?: string;
  params?: Params;
  query?: Query;
  body?: Body;
  /** A request without a body means one of no fields. */
  bodyOptional?: boolean;
  /** Media types of a body that is a file: the handler reads the stream itself. */
  files?: readonly string[];
  /** Status of success and what it answers. */
  status: 200 | 201 | 202;
  response: Presenter<Row>;
  /** What 202 answers, where the work may go on after the answer. */
  accepted?: z.ZodType;
  /** What the published example has instead of the examples of the fields; a function where it is large and only the document needs it. */
  example?: EndpointExample | (() => Promise<EndpointExample>);
  /** Media types besides JSON that the answer may have. */
  produces?: readonly string[];
  /** Statuses of refusals beyond those that every route has. */
  errorResponses?: readonly number[];
  /** Takes callers who see the records of the whole tenant alone: what it shows or does has no owner. */
  isTenantWide?: boolean;
  /** Its queries may take long: past `CellOptions.longAnswerMs` it is refused with TIMEOUT. */
  isLong?: boolean;
  /** The answer may take long to make: its head then leaves before it, and white space until it is there. For GET alone. */
  isPatient?: boolean;
  /** The field of the body that names the record whose writers take turns, where the path names none. */
  serialKey?: string;
  /** Of a command: who sees its record, and so the answer to a repeat; `everyone` where all who may write it see it. */
  visibility?: RecordVisibility | "everyone";
  /** It takes place past the tenant's storage quota too, since it gives room back, as every DELETE. */
  frees?: boolean;
  /** The record carries a version: ETag, If-Match, If-None-Match. */
  versioned?: boolean;
}

/** Who sees the records of one resource. */
export interface RecordVisibility {
  /** As people read it: "Customer". */
  title: string;
  /** Whether a record, live or deleted, is in the caller's scope as it is now. */
  covers(context: RequestContext, recordId: string): Promise<boolean>;
}

/** An event that the cell posts to endpoints of its tenants'. */
export interface EventDefinition {
  type: string;
  summary: string;
  /** What is posted. */
  payload: z.ZodType;
}

/** What Hono is told of a cell's application. */
export interface CellEnv {
  Bindings: HttpBindings;
}

/** One request, as its handler sees it. */
export interface RequestContext<Params = unknown, Query = unknown, Body = unknown> {
  params: Params;
  query: Query;
  /** Parsed when it is first asked for: throws BAD_REQUEST then. */
  readonly body: Body;
  /** The JSON body as it came; undefined where there is none, or it is a file. */
  bytes: Buffer | undefined;
  caller: Principal;
  tenant: Tenant;
  requestId: string;
  /** The id came from the client: it may serve as an idempotency key. */
  requestIdIsKey: boolean;
  /** When the request was taken up: RFC 3339, UTC, milliseconds. */
  now: string;
  /** The version that If-Match names; undefined without one. */
  ifMatch: number | undefined;
  ip: string | null;
  userAgent: string | null;
  /** For streams alone: everything else is above. */
  context: Context<CellEnv>;
}

/** A header of the request; lines of the same name are joined by commas, but for those that may come once. */
export function headerOf({ env }: Context<CellEnv>, name: string): string | undefined {
  const value = env.incoming.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

export type RequestContextOf<E> =
  E extends Endpoint<infer Params, infer Query, infer Body, object> ? RequestContext<Output<Params>, Output<Query>, Output<Body>> : never;
export type RowOf<E> = E extends Endpoint<Schema, Schema, Schema, infer Row> ? Row : never;

/** Declares a route. */
export function endpoint<const Params extends Schema, const Query extends Schema, const Body extends Schema, Row extends object>(
  definition: Endpoint<Params, Query, Body, Row>,
): Endpoint<Params, Query, Body, Row> {
  return definition;
}

/** The id of a record in a path. One that is no UUID belongs to nothing: 404, like any other unknown one. */
export const idParams = z.object({
  id: id().meta({ description: "The record's id", examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
});

export function parseParams<S extends Schema>(schema: S, params: Record<string, string>): Output<S> {
  if (!schema) return undefined as Output<S>;
  const result = schema.safeParse(params);
  if (!result.success) throw notFound("Record");
  return result.data as Output<S>;
}

const noQuery = z.strictObject({});

/** What a request without a query gives. */
const nothing: Record<string, string[]> = {};

/** The parameters of a request's query, as often as each was given. */
export function queryOf({ env }: Context<CellEnv>): Record<string, string[]> {
  const { url = "" } = env.incoming;
  // Hono looks for the query behind a scheme.
  return url.includes("?") ? (getQueryParams(`http://-${url}`) as Record<string, string[]>) : nothing;
}

/** The query's parameters, each once, none unknown. */
export function parseQuery<S extends Schema>(schema: S, given: Record<string, string[]>): Output<S> {
  const single: Record<string, string> = Object.create(null);
  for (const [name, values] of Object.entries(given)) {
    if (values.length > 1) throw badFields([{ path: name, code: "INVALID_FORMAT", message: "is given more than once" }]);
    single[name] = trimmed(values[0] ?? "");
  }
  const result = (schema ?? noQuery).safeParse(single, { reportInput: true });
  if (!result.success) throw badFields(fieldProblems(result.error));
  return result.data as Output<S>;
}

export function parseBody<S extends Schema>(schema: S, body: unknown): Output<S> {
  if (!schema) return undefined as Output<S>;
  const result = schema.safeParse(trimTexts(body), { reportInput: true });
  if (!result.success) throw badFields(fieldProblems(result.error));
  return result.data as Output<S>;
}

/** If-Match as a version: `"3"`. `*` is no condition here, since an absent record is a 404 already. */
export function parseIfMatch(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === "*") return undefined;
  const version = /^"(\d{1,9})"$/.exec(header.trim())?.[1];
  if (version === undefined)
    throw badFields([{ path: "If-Match", code: "INVALID_FORMAT", message: 'must be an ETag that this API gave, such as "3"' }]);
  return Number(version);
}

/** Throws FORBIDDEN for a caller who works on its own records, where an endpoint takes no such caller. */
export function requireScope({ scope }: Pick<Principal, "scope">, { isTenantWide }: Pick<Endpoint, "isTenantWide">): void {
  if (isTenantWide && scope === "own") throw insufficientScope("This needs a token that sees the records of the whole tenant");
}

/** Throws FORBIDDEN for a credential class that an endpoint does not take, whatever the gateway let through. */
export function requireCredential({ credential = "key" }: Pick<Principal, "credential">, { gateway }: Pick<Endpoint, "gateway">): void {
  const taken = gateway?.credentials ?? closedPolicy.credentials;
  if (!taken.includes(credential) && !taken.includes("public"))
    throw insufficientScope(`This does not take a credential of the class ${credential}`);
}

export function requirePermission(caller: Pick<Principal, "permissions">, permission: Permission): void {
  if (!caller.permissions.includes(permission)) throw insufficientScope(`This needs the permission ${permission}`, [permission]);
}
