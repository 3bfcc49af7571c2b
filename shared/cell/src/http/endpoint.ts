import { closedPolicy, insufficientScope, type Permission, type Principal, type RoutePolicy } from "@cell/http";
import type { BodyOf, HttpEndpoint, Output, ParamsOf, QueryOf, Schema } from "@cell/http/endpoint/endpoint";
import type { HttpEnv } from "@cell/http/endpoint/router";
import type { Tenant } from "@cell/postgres";
import { badField, notFound } from "@cell/problem";
import type { Context } from "hono";
import { z } from "zod";
import { id } from "../schema/fields.ts";
import type { Given } from "../schema/given.ts";
import type { Presenter } from "../schema/resource.ts";

/** A route of a cell, with its policies and its response. */
export interface Endpoint<
  Params extends Schema = Schema,
  Query extends Schema = Schema,
  Body extends Schema = Schema,
  Row extends object = object,
> extends HttpEndpoint<Params, Query, Body> {
  /** Null for a route that is open to credentials without permissions, such as `public`. */
  permission: Permission | null;
  /** What differs from the gateway's `closedPolicy`; it is published as `x-gateway`. */
  gateway?: Partial<RoutePolicy>;
  /** Body of success. */
  response: Presenter<Row>;
  /** Body of 202, if the work may continue after the response. */
  accepted?: z.ZodType;
  /** Media types of the response besides JSON. */
  produces?: readonly string[];
  /** Only for callers that may see all records of the tenant: its data has no owner. */
  isTenantWide?: boolean;
  /** Its queries may take long: past `CellOptions.longResponseMs` it fails with TIMEOUT. */
  isLong?: boolean;
  /** The response may take long: its head is then sent first, and white space until the body is ready. Only for GET. */
  isPatient?: boolean;
  /** The body's field that names the record whose writers are serialized, if the path does not name it. */
  serialKey?: string;
  /** For a command: who may see its record, and so a replayed response; `everyone`: everybody who may write it. */
  visibility?: RecordVisibility | "everyone";
  /** Allowed past the tenant's storage quota, because it frees space, as every DELETE. */
  frees?: boolean;
  /** The record has a version: ETag, If-Match, If-None-Match. */
  versioned?: boolean;
}

/** Who may see the records of one resource. */
export interface RecordVisibility {
  /** Title for people: "Customer". */
  title: string;
  /** Whether the caller may currently see a record, live or deleted. */
  covers(context: RequestContext, recordId: string): Promise<boolean>;
}

/** An event that the cell posts to its tenants' endpoints. */
export interface EventDefinition {
  type: string;
  summary: string;
  /** The posted body. */
  payload: z.ZodType;
}

/** One request, as its handler sees it. */
export interface RequestContext<Params = unknown, Query = unknown, Body = unknown> {
  params: Params;
  query: Query;
  /** Parsed at the first access, which may throw BAD_REQUEST. */
  readonly body: Body;
  /** The unparsed JSON body; undefined if there is none, or it is a file. */
  bytes: Buffer | undefined;
  caller: Principal;
  tenant: Tenant;
  requestId: string;
  /** The client sent the id: it may serve as an idempotency key. */
  requestIdIsKey: boolean;
  /** When the request arrived: RFC 3339, UTC, milliseconds. */
  now: string;
  /** The version in If-Match; undefined without one. */
  ifMatch: number | undefined;
  ip: string | null;
  userAgent: string | null;
  /** Only for streams: everything else is above. */
  context: Context<HttpEnv>;
}

/** The request as the handler of an endpoint sees it, with what its schemas make of it. */
export type RequestContextOf<E extends Endpoint> = RequestContext<ParamsOf<E>, QueryOf<E>, Given<BodyOf<E>>>;
/** The record or report that an endpoint answers with. */
export type RowOf<E extends Endpoint> = E["response"] extends Presenter<infer Row> ? Row : never;

/** Declares a route. */
export function endpoint<const Params extends Schema, const Query extends Schema, const Body extends Schema, Row extends object>(
  definition: Endpoint<Params, Query, Body, Row>,
): Endpoint<Params, Query, Body, Row> {
  return definition;
}

/** The id of a record in a path. An invalid UUID is a 404, like any unknown id. */
export const idParams = z.object({
  id: id().meta({ description: "The record's id", examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
});

export function parseParams<S extends Schema>(schema: S, params: Record<string, string>): Output<S> {
  if (!schema) return undefined as Output<S>;
  const result = schema.safeParse(params);
  if (!result.success) throw notFound("Record");
  return result.data as Output<S>;
}

/** If-Match as a version: `"3"`. `*` is no condition here, since a missing record is a 404 already. */
export function parseIfMatch(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === "*") return undefined;
  const version = /^"(\d{1,9})"$/.exec(header.trim())?.[1];
  if (version === undefined) throw badField("If-Match", "INVALID_FORMAT", 'must be an ETag that this API gave, such as "3"');
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
