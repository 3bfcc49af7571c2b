import { statusOf } from "@cell/problem";
import { requestIdPattern } from "../request-id.ts";
import type { Document, Header, Parameter, Reference, Response, Schema } from "./document.ts";

const text = (pattern?: string): Schema => ({ type: "string", ...(pattern ? { pattern } : {}) });

/** Response headers, by their component names. */
export const responseHeaders = {
  "X-Request-ID": {
    description: "Correlates the request with logs, audit entries and problems: the caller's id, or a generated one",
    schema: text(),
    example: "req-uuid-001",
  },
  ETag: { description: "The record's version, for If-Match and If-None-Match", schema: text('^"\\d+"$'), example: '"3"' },
  "Idempotency-Replayed": {
    description: "This is the stored response of an earlier request with the same idempotency key; nothing was written now",
    schema: { type: "string", enum: ["true"] },
  },
  "RateLimit-Policy": {
    description: "The limits that count this request: requests per window in seconds (draft-ietf-httpapi-ratelimit-headers)",
    schema: text(),
    example: '"token";q=1000;w=2, "tenant";q=4000;w=2',
  },
  RateLimit: {
    description: "What remains of each limit, and the seconds until all of it is available again",
    schema: text(),
    example: '"token";r=999;t=1, "tenant";r=3999;t=1',
  },
  "Retry-After": { description: "Seconds to wait before a retry", schema: { type: "integer", minimum: 0 }, example: 1 },
  Allow: { description: "The methods that the path takes", schema: text(), example: "GET, POST" },
  "WWW-Authenticate": {
    description: "How to authenticate, and what a token lacks (RFC 6750): invalid_token, or insufficient_scope",
    schema: text(),
    example: 'Bearer realm="Cell CRM", error="insufficient_scope", error_description="This needs crm:write", scope="crm:write"',
  },
  "Content-Disposition": {
    description: "The file's name",
    schema: text(),
    example: 'attachment; filename="customers-2026-01-31.csv"',
  },
} satisfies Record<string, Header>;
export type ResponseHeader = keyof typeof responseHeaders;

/** Parameters that operations share, by their component names. */
export const sharedParameters = {
  TenantId: {
    name: "X-Tenant-Id",
    in: "header",
    required: true,
    description: "The tenant of the token",
    schema: { ...text(), minLength: 1, maxLength: 40 },
    example: "tenant-001",
  },
  RequestId: {
    name: "X-Request-ID",
    in: "header",
    description: "Correlates the request. On a write it is also the idempotency key: send a new one for each new write",
    schema: text(requestIdPattern.source),
  },
  IdempotencyKey: {
    name: "Idempotency-Key",
    in: "header",
    description: "The idempotency key, instead of X-Request-ID",
    schema: text(requestIdPattern.source),
  },
  IdempotencyMode: {
    name: "X-Idempotency-Mode",
    in: "header",
    description:
      "The response to a repeated idempotency key: the stored response (`replay`) or 409 (`reject`). Default: the tenant's setting",
    schema: { type: "string", enum: ["replay", "reject"] },
    examples: { unsent: { value: "replay", "x-disabled": true } },
  },
  IfMatch: {
    name: "If-Match",
    in: "header",
    description: "The ETag of the version to change: a record at another version is not changed (412)",
    schema: text('^(?:\\*|"\\d{1,9}")$'),
  },
  IfNoneMatch: {
    name: "If-None-Match",
    in: "header",
    description: "The ETag of the version that the caller has: while it is current, the response is 304 without a body",
    schema: text(),
  },
} satisfies Record<string, Parameter>;
export type SharedParameter = keyof typeof sharedParameters;

interface ErrorResponse {
  name: string;
  description: string;
  example: { code: keyof typeof statusOf; message: string; details?: object };
  headers?: readonly ResponseHeader[];
}

const errorResponses: Readonly<Record<number, ErrorResponse>> = {
  400: {
    name: "BadRequest",
    description: "The request is not valid; `details.fields` lists every invalid field",
    example: {
      code: "BAD_REQUEST",
      message: "name: is required",
      details: { fields: [{ path: "name", code: "REQUIRED", message: "is required" }] },
    },
  },
  401: {
    name: "Unauthorized",
    description: "The request has no token, or none that is valid",
    example: { code: "UNAUTHORIZED", message: "The token is not valid" },
    headers: ["WWW-Authenticate"],
  },
  403: {
    name: "Forbidden",
    description: "The token does not allow this: FORBIDDEN, TENANT_MISMATCH or FIELD_MASKED",
    example: { code: "FORBIDDEN", message: "This needs the permission crm:write" },
    headers: ["WWW-Authenticate"],
  },
  404: {
    name: "NotFound",
    description: "The record does not exist, or the caller may not see it",
    example: { code: "NOT_FOUND", message: "Customer not found" },
  },
  405: {
    name: "MethodNotAllowed",
    description: "The path takes other methods",
    example: { code: "METHOD_NOT_ALLOWED", message: "This path takes GET, POST" },
    headers: ["Allow"],
  },
  408: {
    name: "RequestTimeout",
    description: "The request did not arrive in time",
    example: { code: "BAD_REQUEST", message: "The request did not arrive in time" },
  },
  409: {
    name: "Conflict",
    description: "The request conflicts with stored data: DUPLICATE_NAME, IDEMPOTENT_CONFLICT or CONFLICT",
    example: {
      code: "IDEMPOTENT_CONFLICT",
      message: "This request id was used for another request",
      details: { reason: "PAYLOAD_MISMATCH" },
    },
    headers: ["Retry-After"],
  },
  412: {
    name: "PreconditionFailed",
    description: "Another write changed the record first: VERSION_CONFLICT",
    example: {
      code: "VERSION_CONFLICT",
      message: "The record is at version 4 now; read it again and repeat the change",
      details: { currentVersion: 4, conflictingFields: ["name"] },
    },
  },
  413: {
    name: "PayloadTooLarge",
    description: "The body or the response exceeds a limit",
    example: { code: "PAYLOAD_TOO_LARGE", message: "The body exceeds 1048576 bytes" },
  },
  415: {
    name: "UnsupportedMediaType",
    description: "The body has another media type or encoding",
    example: { code: "UNSUPPORTED_MEDIA_TYPE", message: "Send JSON as application/json" },
  },
  429: {
    name: "TooManyRequests",
    description: "A limit of requests is used up; Retry-After says when to try again",
    example: { code: "RATE_LIMITED", message: "This token may send 500 requests per second; try again in 1 s" },
    headers: ["Retry-After", "RateLimit", "RateLimit-Policy"],
  },
  431: {
    name: "RequestHeaderFieldsTooLarge",
    description: "The request's head is too large",
    example: { code: "BAD_REQUEST", message: "The request's head exceeds 16 KB" },
  },
  500: {
    name: "InternalServerError",
    description: "A fault of the server; its log has the cause under the request id",
    example: { code: "INTERNAL", message: "Something went wrong on our side; the requestId finds it in our log" },
  },
  503: {
    name: "ServiceUnavailable",
    description: "A transient fault; Retry-After says when to try again",
    example: { code: "UNAVAILABLE", message: "This tenant is being moved; try again" },
    headers: ["Retry-After"],
  },
  504: {
    name: "GatewayTimeout",
    description: "The response took too long",
    example: { code: "TIMEOUT", message: "The response took too long" },
    headers: ["Retry-After"],
  },
};

const problemSchema: Schema = {
  type: "object",
  description: "Why a request failed",
  properties: {
    code: { type: "string", enum: Object.keys(statusOf), description: "For programs" },
    message: { type: "string", description: "For people: what was wrong and what would be right" },
    requestId: { type: "string", description: "The same as the header X-Request-ID" },
    details: { type: "object", additionalProperties: true, description: "For programs: details of some codes" },
  },
  required: ["code", "message", "requestId"],
};

/** Reference to a shared parameter. */
export function parameterRef(name: SharedParameter): Reference {
  return { $ref: `#/components/parameters/${name}` };
}

/** References to response headers. */
export function headerRefs(...names: readonly ResponseHeader[]): Record<string, Reference> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** References to the error responses, by status. Throws for a status without one. */
export function errorResponseRefs(statuses: Iterable<number>): Record<string, Reference> {
  const sorted = [...new Set(statuses)].sort((left, right) => left - right);
  return Object.fromEntries(sorted.map((status) => [status, { $ref: `#/components/responses/${errorResponseOf(status).name}` }]));
}

function errorResponseOf(status: number): ErrorResponse {
  const errorResponse = errorResponses[status];
  if (!errorResponse) throw new Error(`No error response is described for ${status}: add it to shared/http/src/openapi/components.ts`);
  return errorResponse;
}

function responseOf({ description, example, headers = [] }: ErrorResponse): Response {
  const { code, message, ...details } = example;
  return {
    description,
    headers: headerRefs("X-Request-ID", ...headers),
    content: {
      "application/json": {
        schema: { $ref: "#/components/schemas/Problem" },
        example: { code, message, requestId: "req-uuid-001", ...details },
      },
    },
  };
}

/** The document with the shared components that it refers to, and no others. */
export function withSharedComponents(document: Document): Document {
  const components = { ...document.components };
  const responses = Object.values(errorResponses).filter(({ name }) => isNamed(document, "responses", name));
  if (responses.length > 0) {
    components.responses = Object.fromEntries(responses.map((errorResponse) => [errorResponse.name, responseOf(errorResponse)]));
    components.schemas = { ...components.schemas, Problem: problemSchema };
  }
  const all = { ...document, components };
  const headers = Object.entries(responseHeaders).filter(([name]) => isNamed(all, "headers", name));
  const parameters = Object.entries(sharedParameters).filter(([name]) => isNamed(all, "parameters", name));
  if (headers.length > 0) components.headers = Object.fromEntries(headers);
  components.parameters = Object.fromEntries(parameters);
  if (parameters.length === 0) delete components.parameters;
  return all;
}

function isNamed(document: Document, kind: string, name: string): boolean {
  return JSON.stringify(document).includes(`"#/components/${kind}/${name}"`);
}
