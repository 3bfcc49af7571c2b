import type { z } from "zod";

export type Method = "get" | "post" | "patch" | "put" | "delete";

export type Schema = z.ZodType | undefined;
/** What a schema makes of its input; undefined without a schema. */
export type Output<S extends Schema> = S extends z.ZodType ? z.output<S> : undefined;

/** The example of a route, if its fields' examples give none or a poor one. */
export interface EndpointExample {
  /** The whole body. */
  body?: unknown;
  /** The fields of the response that differ. */
  response?: unknown;
  /** The response as CSV. */
  file?: string;
  /** The body as CSV. */
  upload?: string;
}

/**
 * The request of a route and the status of its success. Validation, the handler's types and the OpenAPI document are derived from it. Each
 * application adds its own policies and the body of the response.
 */
export interface HttpEndpoint<Params extends Schema = Schema, Query extends Schema = Schema, Body extends Schema = Schema> {
  method: Method;
  /** With parameters in braces: `/customers/{id}`. */
  path: string;
  /** `resource.verb`, if the rule in `@cell/http/openapi/operation-ids` gives no good one. */
  operationId?: string;
  tag: string;
  summary: string;
  description?: string;
  params?: Params;
  query?: Query;
  body?: Body;
  /** A missing body counts as an empty object. */
  bodyOptional?: boolean;
  /** Media types of a body that is a file: the handler reads the stream itself. */
  files?: readonly string[];
  /** Status of success. */
  status: 200 | 201 | 202;
  /** Replaces parts of the published example; a function if it is large and only the document needs it. */
  example?: EndpointExample | (() => Promise<EndpointExample>);
  /** Error statuses beyond those of every route. */
  errorResponses?: readonly number[];
}

/** The parameters of an endpoint's path, as its schema makes them. */
export type ParamsOf<E extends HttpEndpoint> = Output<Exclude<E["params"], undefined>>;
/** The query of an endpoint, as its schema makes it. */
export type QueryOf<E extends HttpEndpoint> = Output<Exclude<E["query"], undefined>>;
/** The body of an endpoint, as its schema makes it. */
export type BodyOf<E extends HttpEndpoint> = Output<Exclude<E["body"], undefined>>;
