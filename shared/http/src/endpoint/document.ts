import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from "@asteasolutions/zod-to-openapi";
import { z } from "zod";
import { type Completion, completeDocument } from "../openapi/complete.ts";
import { parameterRef, type SharedParameter } from "../openapi/components.ts";
import type { Document, PathItem } from "../openapi/document.ts";
import type { HttpEndpoint } from "./endpoint.ts";

export type Responses = RouteConfig["responses"];
/** An event that is posted to its receivers; its path is the event's type. */
export type EventRoute = RouteConfig;

/** An endpoint and what its application documents of it. */
export interface EndpointDescription {
  endpoint: HttpEndpoint;
  /** Replaces the endpoint's query. */
  query?: z.ZodObject | undefined;
  /** Replaces the endpoint's description. */
  description?: string | undefined;
  parameters?: readonly SharedParameter[];
  /** It takes requests without a token. */
  isPublic?: boolean;
  /** Fields of the operation whose names begin with `x-`. */
  extensions?: Readonly<Record<`x-${string}`, unknown>>;
  /** Every status. */
  responses: Responses;
}

/** What an application documents. */
export interface Described extends Completion {
  title: string;
  version: string;
  description: string;
  servers: { url: string; description?: string }[];
  /** What the bearer token is. */
  bearer: string;
  endpoints: readonly EndpointDescription[];
  events?: readonly EventRoute[];
  /** Paths that are no endpoints: they need no token. */
  openPaths: Readonly<Record<string, PathItem>>;
}

const binary = z.string().meta({ format: "binary" });
const formWithFile = z.object({ file: binary.meta({ description: "The file, with its name" }) });

async function routeOf({
  endpoint,
  parameters = [],
  isPublic,
  extensions,
  responses,
  ...replaced
}: EndpointDescription): Promise<RouteConfig> {
  const { method, path, body, files, params } = endpoint;
  const { query = endpoint.query, description = endpoint.description } = replaced;
  const content: Record<string, { schema: z.ZodType }> = {};
  if (body) content["application/json"] = { schema: body };
  for (const type of files ?? []) content[type] = { schema: type === "multipart/form-data" ? formWithFile : binary };
  const example = typeof endpoint.example === "function" ? await endpoint.example() : endpoint.example;
  return {
    method,
    path,
    tags: [endpoint.tag],
    summary: endpoint.summary,
    ...(endpoint.operationId ? { operationId: endpoint.operationId } : {}),
    ...(description ? { description } : {}),
    security: isPublic ? [] : [{ bearer: [] }],
    ...extensions,
    ...(example ? { "x-example": { request: example.body, response: example.response, file: example.file, upload: example.upload } } : {}),
    ...(parameters.length > 0 ? { parameters: parameters.map(parameterRef) } : {}),
    request: {
      ...(params ? { params: params as z.ZodObject } : {}),
      ...(query ? { query: query as z.ZodObject } : {}),
      ...(Object.keys(content).length > 0 ? { body: { required: !endpoint.bodyOptional, content } } : {}),
    },
    responses,
  };
}

/** An application's OpenAPI 3.1 document. Rejects with an Error that says what a route lacks. */
export async function documentOf(described: Described): Promise<Document> {
  const { title, version, description, servers, bearer, endpoints, events = [], openPaths, ...completion } = described;
  const registry = new OpenAPIRegistry();
  for (const endpoint of endpoints) registry.registerPath(await routeOf(endpoint));
  for (const event of events) registry.registerWebhook(event);
  registry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer", description: bearer });
  const info = { title, version, description };
  const raw = new OpenApiGeneratorV31(registry.definitions).generateDocument({ openapi: "3.1.0", info, servers });
  return completeDocument({ ...raw, paths: { ...raw.paths, ...openPaths } }, completion);
}
