import type { Permission } from "@cell/http";
import type { BodyOf, HttpEndpoint, ParamsOf, QueryOf, Schema } from "@cell/http/endpoint/endpoint";
import type { HttpEnv } from "@cell/http/endpoint/router";
import type { Context } from "hono";
import type { z } from "zod";
import type { Access } from "../auth/access.ts";

/**
 * The callers of a route: the operator only; also holders of one of the permissions, for their own tenant; or every valid token.
 */
export type Callers = "operator" | "all" | { anyOf: readonly [Permission, ...Permission[]] };

/** The body of success. */
export interface AdminResponse<Body extends z.ZodType = z.ZodType> {
  description: string;
  schema: Body;
  /** Media type, if it is not JSON. */
  type?: string;
  /** Of a body that is not JSON. */
  example?: string;
}

/** A route of the administration, with its callers and its response. */
export interface AdminEndpoint<
  Params extends Schema = Schema,
  Query extends Schema = Schema,
  Body extends Schema = Schema,
  Response extends z.ZodType = z.ZodType,
> extends HttpEndpoint<Params, Query, Body> {
  callers: Callers;
  response: AdminResponse<Response>;
}

/** Declares a route of the administration. */
export function adminEndpoint<
  const Params extends Schema,
  const Query extends Schema,
  const Body extends Schema,
  Response extends z.ZodType,
>(definition: AdminEndpoint<Params, Query, Body, Response>): AdminEndpoint<Params, Query, Body, Response> {
  return definition;
}

/** One request, as its handler sees it. */
export interface AdminContext<Params = unknown, Query = unknown, Body = unknown> {
  params: Params;
  query: Query;
  body: Body;
  access: Access;
  /** The tenant that the caller is limited to; undefined for the operator. */
  ownTenantId: string | undefined;
  /** Only for bodies that are files, and for streams. */
  context: Context<HttpEnv>;
}

/** The request as the handler of an endpoint sees it, with what its schemas make of it. */
export type AdminContextOf<E extends AdminEndpoint> = AdminContext<ParamsOf<E>, QueryOf<E>, BodyOf<E>>;
/** The body that a handler of an endpoint returns. */
export type ResponseBodyOf<E extends AdminEndpoint> = z.input<E["response"]["schema"]>;
