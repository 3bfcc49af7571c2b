import { documentOf, type EndpointDescription, type EventRoute, type Responses } from "@cell/http/endpoint/document";
import type { Completion } from "@cell/http/openapi/complete";
import { errorResponseRefs, headerRefs, type ResponseHeader, type SharedParameter } from "@cell/http/openapi/components";
import type { Document, PathItem, Schema } from "@cell/http/openapi/document";
import { camelCase } from "@cell/http/openapi/operation-ids";
import { docsPath, documentPath, eventsTag, healthPath, readyPath } from "@cell/http/openapi/operational";
import { z } from "zod";
import { documentedQuery } from "../lists/list-parameters.ts";
import type { ListDefinition } from "../lists/list-types.ts";
import { mask, type SensitiveKind } from "../schema/masking.ts";
import { fileResponse } from "../schema/resource.ts";
import type { Endpoint, EventDefinition } from "./endpoint.ts";

/** A route and what its registration adds to its responses. */
export interface DescribedEndpoint {
  endpoint: Endpoint;
  /** The list that it serves, which decides the filters and sort orders. */
  listing?: ListDefinition<object> | undefined;
}

/** The document's content besides routes. */
export interface About extends Pick<Completion, "tags" | "exampleValues"> {
  title: string;
  version: string;
  description: string;
  servers: { url: string; description?: string }[];
}

const answered: readonly ResponseHeader[] = ["X-Request-ID", "RateLimit", "RateLimit-Policy"];

/** What the document says of a route: its parameters and every status of its responses. */
function described({ endpoint, listing }: DescribedEndpoint): EndpointDescription {
  const { method, permission, gateway } = endpoint;
  const isDetail = method === "get" && (listing === undefined || listing.responseKind === "detail");
  return {
    endpoint,
    query: listing && documentedQuery(endpoint.query as z.ZodObject, listing),
    description: documentedText(endpoint),
    parameters: sharedParametersOf(endpoint),
    isPublic: gateway?.credentials?.includes("public") ?? false,
    extensions: {
      ...(permission === null ? {} : { "x-permission": permission }),
      ...(gateway ? { "x-gateway": gateway } : {}),
      "x-masked": !isDetail,
    },
    responses: responsesOf(endpoint, listing !== undefined),
  };
}

function documentedText({ description, isTenantWide }: Endpoint): string {
  return [description, isTenantWide && "Callers of scope own are refused."].filter(Boolean).join(" ");
}

function isWrite({ method }: Endpoint): boolean {
  return method !== "get";
}

/** A write that If-Match can bind to a version: not a creation. */
function isConditional({ method, params, versioned }: Endpoint): boolean {
  return versioned === true && method !== "get" && (method !== "post" || params !== undefined);
}

function sharedParametersOf(endpoint: Endpoint): SharedParameter[] {
  const names: SharedParameter[] = ["TenantId", "RequestId"];
  if (isWrite(endpoint)) names.push("IdempotencyKey", "IdempotencyMode");
  if (endpoint.method === "get" && endpoint.versioned) names.push("IfNoneMatch");
  if (isConditional(endpoint)) names.push("IfMatch");
  return names;
}

/** A replay is 404 if the caller may no longer see the record. */
function isOwned({ visibility }: Endpoint): boolean {
  return visibility !== undefined && visibility !== "everyone";
}

function responsesOf(endpoint: Endpoint, isList: boolean): Responses {
  const { method, params, body, files, versioned, status, response, produces = [] } = endpoint;
  const errorResponses = new Set([400, 401, 403, 405, 408, 429, 431, 500, 503, 504, ...(endpoint.errorResponses ?? [])]);
  if (params || isOwned(endpoint)) errorResponses.add(404);
  if (isWrite(endpoint)) errorResponses.add(409);
  // Large records, or a tenant's used-up storage quota.
  if (isList || method === "post" || method === "patch") errorResponses.add(413);
  if (body || files) errorResponses.add(413).add(415);
  if (isConditional(endpoint)) errorResponses.add(412);
  const headers = [...answered];
  if (versioned) headers.push("ETag");
  if (isWrite(endpoint)) headers.push("Idempotency-Replayed");
  if (produces.includes("text/csv")) headers.push("Content-Disposition");
  const success: Record<string, { schema: z.ZodType }> =
    response === fileResponse ? {} : { "application/json": { schema: response.responseSchema } };
  for (const type of produces) success[type] = { schema: z.string() };
  const responses: Record<string, object> = { [status]: { description: "Done", headers: headerRefs(...headers), content: success } };
  if (endpoint.accepted) {
    responses[202] = {
      description: "Accepted; the work continues in the background",
      headers: headerRefs(...answered, "Idempotency-Replayed"),
      content: { "application/json": { schema: endpoint.accepted } },
    };
  }
  if (versioned && method === "get")
    responses[304] = { description: "Unchanged since the version in If-None-Match", headers: headerRefs(...answered, "ETag") };
  return { ...responses, ...errorResponseRefs(errorResponses) } as Responses;
}

const eventHeaders = z.object({
  "webhook-id": z
    .string()
    .meta({ description: "The event's id: the same at every attempt", examples: ["0197c3a7-70aa-7d17-8b64-1f5d3e9a20c9"] }),
  "webhook-timestamp": z.string().meta({ description: "When it was sent, in seconds since 1970", examples: ["1769846400"] }),
  "webhook-signature": z.string().meta({
    description:
      "`v1,` and the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}` in base64, keyed by the webhook's secret; several are separated by spaces",
    examples: ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="],
  }),
});

/** An event, as its receiver sees it. */
function describedEvent({ type, summary, payload }: EventDefinition): EventRoute {
  return {
    method: "post",
    path: type,
    operationId: `events.${camelCase(type)}`,
    tags: [eventsTag.name],
    summary,
    description: `${summary}. Signed by the Standard Webhooks specification.`,
    security: [],
    request: { headers: eventHeaders, body: { required: true, content: { "application/json": { schema: payload } } } },
    responses: {
      "2XX": { description: "The event is accepted" },
      "410": { description: "The endpoint is gone: it is disabled" },
      default: { description: "The event is sent again later, up to a day" },
    },
  };
}

const checks: Record<string, Schema> = {
  database: { type: "string", enum: ["ok", "away"] },
  draining: { type: "boolean", description: "The process is stopping" },
  sealing: { type: "string", enum: ["failing"], description: "Only where it fails: see `problems`" },
};
const degraded: Record<string, Schema> = {
  degraded: { type: "boolean", description: "Requests are served, but something is wrong: see `problems`" },
  problems: { type: "array", items: { type: "string" }, description: "What is wrong, a sentence each", examples: [[]] },
};

/** Paths that need no token. */
const openPaths: Record<string, PathItem> = {
  "/health": healthPath,
  "/ready": readyPath(checks, degraded, errorResponseRefs([503])),
  "/docs": docsPath,
  "/openapi.json": documentPath,
};

/** The cell's OpenAPI 3.1 document. Throws an Error that says what a route lacks. */
export function cellDocumentOf(
  endpoints: readonly DescribedEndpoint[],
  events: readonly EventDefinition[],
  about: About,
): Promise<Document> {
  return documentOf({
    ...about,
    bearer: "An API key or an access token",
    endpoints: endpoints.map(described),
    events: events.map(describedEvent),
    openPaths,
    mask: (kind, value) => mask(kind as SensitiveKind, value),
  });
}
