/** A JSON schema, as far as documents are built and checked here. */
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

/** The format of a field that takes a calendar date or a time: JSON Schema has none, so that a completed document says either. */
export const dateOrTime = "date-or-date-time";

/** A reference to a component, in place of what it names. */
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
  /** With `x-disabled`, the documents' page shows the value and does not send it. */
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

/** What an operation answers with one status. */
export interface Response {
  description: string;
  headers?: Record<string, Header | Reference>;
  content?: Record<string, MediaType>;
}

/** A tag with what it stands for. */
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
}

/** The methods of a path, by their names in lower case. */
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

/** The object itself, or the component that a reference names. Throws for a component that the document does not have. */
export function resolved<T extends object>({ components }: Pick<Document, "components">, given: T | Reference): T {
  if (!("$ref" in given) || typeof given.$ref !== "string") return given as T;
  const [kind = "", name = ""] = given.$ref.replace("#/components/", "").split("/");
  const found = components?.[kind as ComponentKind]?.[name];
  if (!found) throw new Error(`The document has no ${given.$ref}`);
  return found as T;
}

/** Every operation of a document's paths. */
export function* operationsOf({ paths }: Pick<Document, "paths">): Generator<{ method: string; path: string; operation: Operation }> {
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) yield { method, path, operation };
  }
}
