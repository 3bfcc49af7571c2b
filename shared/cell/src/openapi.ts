import { statusOf } from "@cell/problem";
import { createRoute, OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import { z } from "zod";
import type { Endpoint } from "./endpoint.ts";
import { fileAnswer } from "./resource.ts";

const problemSchema = z
  .object({
    code: z.enum(Object.keys(statusOf) as [string, ...string[]]),
    message: z.string(),
    requestId: z.string(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({
    id: "Problem",
    examples: [{ code: "NOT_FOUND", message: "Customer not found", requestId: "req-uuid-001" }],
  });

const describedStatus: Record<number, string> = {
  400: "The request is not valid; `details.fields` names every bad field",
  401: "No token, or one that is not valid",
  403: "The token does not allow this",
  404: "There is no such record, or the caller may not see it",
  408: "The request did not arrive in time",
  409: "It conflicts with what is there: DUPLICATE_NAME, IDEMPOTENT_CONFLICT or CONFLICT",
  412: "Someone else was faster: VERSION_CONFLICT",
  413: "The body is too large",
  415: "The body is of another media type",
  429: "Too many requests",
  431: "The request's head is too large",
  500: "A fault of ours",
  503: "A passing fault; Retry-After says when to try again",
  504: "It took too long",
};

const requestIdHeader = z
  .string()
  .optional()
  .meta({ description: "Correlates, and makes a write idempotent", examples: ["req-uuid-001"] });

/** Puts a route into the document: its parameters, bodies and every status that it can answer. */
function describe(app: OpenAPIHono, definition: Endpoint): void {
  const { method, path, body, files, versioned } = definition;
  const writes = method !== "get";
  const headers: Record<string, z.ZodType> = {
    "x-tenant-id": z.string().meta({ examples: ["tenant-001"] }),
    "x-request-id": requestIdHeader,
  };
  if (writes) headers["idempotency-key"] = z.string().optional().meta({ description: "Taken instead of X-Request-ID" });
  if (writes) headers["x-idempotency-mode"] = z.enum(["replay", "reject"]).optional();
  if (versioned)
    headers[method === "get" ? "if-none-match" : "if-match"] = z
      .string()
      .optional()
      .meta({ examples: ['"3"'] });

  const content: Record<string, { schema: z.ZodType }> = {};
  if (body) content["application/json"] = { schema: body };
  for (const type of files ?? []) content[type] = { schema: z.string().meta({ format: "binary" }) };

  const config: RouteConfig = {
    method,
    path,
    tags: [definition.tag],
    summary: definition.summary,
    ...(definition.description ? { description: definition.description } : {}),
    security: [{ bearer: [] }],
    "x-permission": definition.permission,
    request: {
      headers: z.object(headers),
      ...(definition.params ? { params: definition.params as z.ZodObject } : {}),
      ...(definition.query ? { query: definition.query as z.ZodObject } : {}),
      ...(Object.keys(content).length > 0 ? { body: { required: !definition.bodyOptional, content } } : {}),
    },
    responses: responsesOf(definition),
  };
  app.openAPIRegistry.registerPath(createRoute(config as never));
}

function responsesOf(definition: Endpoint): RouteConfig["responses"] {
  const { method, params, body, files, versioned, status, answer } = definition;
  const refusals = new Set([400, 401, 403, 408, 429, 431, 500, 503, 504, ...(definition.refusals ?? [])]);
  if (params) refusals.add(404);
  if (method !== "get") refusals.add(409);
  if (body || files) refusals.add(413).add(415);
  if (versioned && method !== "get") refusals.add(412);
  const requestId = { "x-request-id": { schema: { type: "string" as const }, description: "The request's id" } };
  const success: Record<string, { schema: z.ZodType }> = answer === fileAnswer ? {} : { "application/json": { schema: answer.answer } };
  for (const type of definition.produces ?? []) success[type] = { schema: z.string() };
  const responses: RouteConfig["responses"] = { [status]: { description: "Done", headers: requestId, content: success } };
  if (definition.accepted) {
    responses[202] = {
      description: "Taken; the work goes on",
      headers: requestId,
      content: { "application/json": { schema: definition.accepted } },
    };
  }
  if (versioned && method === "get") responses[304] = { description: "Unchanged since the version in If-None-Match", headers: requestId };
  for (const refusal of [...refusals].sort()) {
    responses[refusal] = {
      description: describedStatus[refusal] ?? "Refused",
      headers: requestId,
      content: { "application/json": { schema: problemSchema } },
    };
  }
  return responses;
}

/** The cell's OpenAPI 3.1 document. */
export function documentOf(
  endpoints: readonly Endpoint[],
  about: { title: string; version: string; description: string; servers: { url: string }[] },
): object {
  const app = new OpenAPIHono();
  for (const endpoint of endpoints) describe(app, endpoint);
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "An API key or an access token",
  });
  const { servers, ...info } = about;
  return app.getOpenAPI31Document({ openapi: "3.1.0", info, servers });
}
