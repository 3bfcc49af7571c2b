import { version } from "@cell/http";
import { documentOf, type EndpointDescription } from "@cell/http/endpoint/document";
import { errorResponseRefs, headerRefs } from "@cell/http/openapi/components";
import type { Document, PathItem, Schema, Tag } from "@cell/http/openapi/document";
import { docsPath, documentContent, documentPath, healthPath, openPath, operationsTag, readyPath } from "@cell/http/openapi/operational";
import type { AdminEndpoint } from "./endpoint.ts";
import { introduction } from "./introduction.ts";

/** The gateway's own document. A running process names its own server. */
export function gatewayDocument(endpoints: readonly AdminEndpoint[]): Promise<Document> {
  return documentOf({
    title: "Cell CRM gateway",
    version,
    description: introduction,
    servers: [{ url: "http://127.0.0.1:8080", description: "npm start" }],
    bearer: "An API key, or an access token of the configured issuer",
    endpoints: endpoints.map(described),
    openPaths,
    tags,
    exampleValues,
  });
}

function described(endpoint: AdminEndpoint): EndpointDescription {
  const { status, response, errorResponses = [] } = endpoint;
  const { description, schema, type = "application/json", example } = response;
  return {
    endpoint,
    responses: {
      [status]: { description, headers: headerRefs("X-Request-ID"), content: { [type]: { schema, ...(example ? { example } : {}) } } },
      ...errorResponseRefs([400, 401, 403, 405, 408, 413, 415, 429, 431, 500, 503, ...errorResponses]),
    },
  };
}

const tags: readonly Tag[] = [
  { name: "Tenants", description: "The tenants of the platform: for the operator." },
  { name: "Keys", description: "API keys: for the operator, and for administrators within their tenant." },
  { name: "Moves", description: "Moves of tenants between partitions: for the operator." },
  { name: "Backups", description: "Backup and restore of one tenant: for the operator." },
  { name: "Cells", description: "The cells behind the gateway, and their partitions." },
  operationsTag,
];

const text: Schema = { type: "string" };

/** Paths that need no token. */
const openPaths: Record<string, PathItem> = {
  "/": openPath({
    operationId: "index.get",
    summary: "Where the documents are",
    content: {
      "application/json": {
        schema: { type: "object", properties: { name: text, docs: text, openapi: text }, required: ["name", "docs", "openapi"] },
        example: { name: "Cell CRM gateway", docs: "/docs", openapi: "/openapi.json" },
      },
    },
  }),
  "/health": healthPath,
  "/ready": readyPath(
    {
      database: { type: "string", enum: ["ok", "away"] },
      identityProvider: { type: "string", description: "The state of the OIDC issuer; none without one", examples: ["none"] },
      draining: { type: "boolean", description: "The process is stopping" },
    },
    {},
    errorResponseRefs([503]),
  ),
  "/metrics": {
    get: {
      ...openPath({
        operationId: "metrics.get",
        summary: "The process's metrics for Prometheus",
        description:
          "Where METRICS_PORT is set, or neither it nor METRICS_TOKEN, they are on that port (9090) and this path is 404. With METRICS_TOKEN alone they are here, for that token.",
        content: {
          "text/plain": {
            schema: text,
            example:
              '# HELP http_requests_total Requests by route and status\n# TYPE http_requests_total counter\nhttp_requests_total{method="GET",route="/health",status="200"} 1\n',
          },
        },
        responses: errorResponseRefs([401, 404]),
      }).get,
      security: [{ bearer: [] }],
    } as PathItem["get"],
  } as PathItem,
  "/docs": docsPath,
  "/openapi.json": documentPath,
  "/openapi/{cell}.json": openPath({
    operationId: "openapi.getCell",
    summary: "The document of a cell",
    parameters: [{ name: "cell", in: "path", required: true, description: "The cell's name", schema: text, example: "crm" }],
    content: documentContent,
    responses: errorResponseRefs([404, 503]),
  }),
};

/** Examples of fields whose schemas have none, by name. */
const exampleValues: Readonly<Record<string, unknown>> = {
  keyId: "0197c3a0-11d4-7b5c-8e3f-62a9d0c4e871",
  name: "Example Ltd",
  rateLimit: null,
  quotaBytes: null,
  healthy: true,
  provisioned: true,
};
