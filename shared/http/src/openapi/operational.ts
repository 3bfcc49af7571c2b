import { version } from "../version.ts";
import type { RawOperation } from "./complete.ts";
import { errorResponseRefs, headerRefs } from "./components.ts";
import type { Operation, PathItem, Schema } from "./document.ts";

interface OpenPath {
  operationId: string;
  summary: string;
  description?: string;
  /** The content of the 200 response. */
  content: Record<string, { schema: Schema; example?: unknown }>;
  responses?: Operation["responses"];
  parameters?: NonNullable<Operation["parameters"]>;
}

/** Tag of the paths that need no token. */
export const operationsTag = { name: "Operations", description: "For load balancers, monitoring and tools: without a token." };

/** Tag of the webhook events. */
export const eventsTag = { name: "Events", description: "What webhook endpoints receive: one POST for each event, signed." };

const text: Schema = { type: "string" };

/** A GET that needs no token and belongs to no tenant. */
export function openPath({ content, responses = {}, ...more }: OpenPath): PathItem {
  const operation: RawOperation = {
    tags: [operationsTag.name],
    security: [],
    ...more,
    responses: {
      "200": { description: "Done", headers: headerRefs("X-Request-ID"), content },
      ...responses,
      ...errorResponseRefs([400, 405, 431, 500]),
    },
  };
  return { get: operation };
}

/** `/health`. */
export const healthPath = openPath({
  operationId: "health.get",
  summary: "Liveness",
  description: "The process responds. It checks nothing else.",
  content: {
    "application/json": {
      schema: {
        type: "object",
        properties: {
          status: { type: "string", enum: ["ok"] },
          version: { type: "string", description: "The version of the program", examples: [version] },
        },
        required: ["status", "version"],
      },
    },
  },
});

/** `/ready`. `checks`: the schemas of the checks, by name. `responses`: those besides 200, such as the error while it is not ready. */
export function readyPath(checks: Record<string, Schema>, more: Record<string, Schema>, responses: Operation["responses"]): PathItem {
  return openPath({
    operationId: "ready.get",
    summary: "Readiness",
    description:
      "503 while the process starts, stops, or cannot reach its database, with `checks` in `details`: a load balancer sends requests elsewhere.",
    content: { "application/json": { schema: readySchema(checks, more) } },
    responses,
  });
}

function readySchema(checks: Record<string, Schema>, more: Record<string, Schema>): Schema {
  const properties: Record<string, Schema> = {
    status: { type: "string", enum: ["ready"] },
    ...more,
    checks: { type: "object", properties: checks },
  };
  return { type: "object", properties, required: ["status", "checks"] };
}

/** `/docs`. */
export const docsPath = openPath({
  operationId: "docs.get",
  summary: "This documentation as a page",
  content: { "text/html": { schema: text } },
});

/** The OpenAPI document as content. */
export const documentContent = {
  "application/json": {
    schema: { type: "object", properties: { openapi: text, info: { type: "object" } }, required: ["openapi", "info"] },
    example: { openapi: "3.1.0", info: { title: "Cell CRM", version } },
  },
};

/** `/openapi.json`. */
export const documentPath = openPath({
  operationId: "openapi.get",
  summary: "This document",
  description: "OpenAPI 3.1; its server is the address of this request.",
  content: documentContent,
});
