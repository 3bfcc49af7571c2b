import type { RoutePolicy } from "../declaration.ts";

/** The part of JSON Schema that our documents use. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  example?: unknown;
  examples?: unknown[];
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  description?: string;
  "x-sensitive"?: string;
}

/** Format of a field that takes a calendar date or a time. JSON Schema has none; completion replaces it by a choice of both. */
export const dateOrTime = "date-or-date-time";

/** A reference to a component. */
export interface Reference {
  $ref: string;
}

/** A parameter of an operation. */
export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
  example?: unknown;
  /** With `x-disabled`, the documentation page shows the value and does not send it. */
  examples?: Record<string, { value: unknown; "x-disabled"?: boolean }>;
}

/** A header of a response. */
export interface Header {
  description: string;
  schema: Schema;
  example?: unknown;
}

/** A body in one media type. */
export interface MediaType {
  schema?: Schema;
  example?: unknown;
}

/** The response with one status. */
export interface Response {
  description: string;
  headers?: Record<string, Header | Reference>;
  content?: Record<string, MediaType>;
}

/** A tag and its description. */
export interface Tag {
  name: string;
  description: string;
}

/** One method of a path. */
export interface Operation {
  operationId?: string;
  tags?: string[];
  summary?: string;
  description?: string;
  security?: Record<string, string[]>[];
  parameters?: (Parameter | Reference)[];
  requestBody?: { required?: boolean; description?: string; content: Record<string, MediaType> };
  responses: Record<string, Response | Reference>;
  "x-permission"?: string;
  "x-gateway"?: Partial<RoutePolicy>;
}

/** The operations of a path, by method in lower case. */
export type PathItem = Record<string, Operation>;

/** An OpenAPI 3.1 document. */
export interface Document {
  openapi: string;
  info: { title: string; version: string; description?: string };
  servers?: { url: string; description?: string }[];
  tags?: Tag[];
  paths: Record<string, PathItem>;
  webhooks?: Record<string, PathItem>;
  components?: {
    schemas?: Record<string, Schema>;
    parameters?: Record<string, Parameter>;
    headers?: Record<string, Header>;
    responses?: Record<string, Response>;
    securitySchemes?: Record<string, object>;
  };
}

type ComponentKind = keyof NonNullable<Document["components"]>;

/** Resolves a reference; other objects are returned as they are. Throws if the document lacks the component. */
export function resolved<T extends object>({ components }: Pick<Document, "components">, given: T | Reference): T {
  if (!("$ref" in given) || typeof given.$ref !== "string") return given as T;
  const [kind = "", name = ""] = given.$ref.replace("#/components/", "").split("/");
  const found = components?.[kind as ComponentKind]?.[name];
  if (!found) throw new Error(`The document has no ${given.$ref}`);
  return found as T;
}

/** Every operation of a document. */
export function* operationsOf({ paths }: Pick<Document, "paths">): Generator<{ method: string; path: string; operation: Operation }> {
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) yield { method, path, operation };
  }
}
