import type { IncomingMessage } from "node:http";
import { badField, badFields } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import type { Context } from "hono";
import { getQueryParams } from "hono/utils/url";
import { z } from "zod";
import { parseJsonBytes, readJsonBytes, readOptionalJsonBytes } from "../body.ts";
import { trimmed, trimTexts } from "../text.ts";
import type { HttpEndpoint, Output, Schema } from "./endpoint.ts";
import type { HttpEnv } from "./router.ts";

/** A header of the request; repeated lines are joined by commas, except headers that may come only once. */
export function headerOf({ env }: Context<HttpEnv>, name: string): string | undefined {
  const value = env.incoming.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** What a schema makes of a value. Throws BAD_REQUEST that lists the invalid fields. */
export function parseInput<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value, { reportInput: true });
  if (!result.success) throw badFields(fieldProblems(result.error));
  return result.data;
}

/** Schema of what a route does not take. */
const noFields = z.strictObject({});

/** The query parameters of a request without a query. */
const nothing: Record<string, string[]> = {};

/** The query parameters of a request, with all values of each. */
export function queryOf({ env }: Context<HttpEnv>): Record<string, string[]> {
  const { url = "" } = env.incoming;
  // Hono looks for the query after a scheme.
  return url.includes("?") ? (getQueryParams(`http://-${url}`) as Record<string, string[]>) : nothing;
}

/** Validates the query parameters: each given once, none unknown. */
export function parseQuery<S extends Schema>(schema: S, given: Record<string, string[]>): Output<S> {
  const single: Record<string, string> = Object.create(null);
  for (const [name, values] of Object.entries(given)) {
    if (values.length > 1) throw badField(name, "INVALID_FORMAT", "is given more than once");
    single[name] = trimmed(values[0] ?? "");
  }
  return parseInput(schema ?? noFields, single) as Output<S>;
}

/**
 * The bytes of a JSON body of at most `bytesAtMost`; undefined if there is none. Rejects with BAD_REQUEST for fields that a route without a
 * body would ignore, and with the documented errors for another media type and a larger body.
 */
export async function readBody(
  incoming: IncomingMessage,
  { method, body, bodyOptional, files }: Pick<HttpEndpoint, "method" | "body" | "bodyOptional" | "files">,
  bytesAtMost: number,
): Promise<Buffer | undefined> {
  if (files || method === "get") return undefined;
  if (body && !bodyOptional) return readJsonBytes(incoming, bytesAtMost);
  const bytes = await readOptionalJsonBytes(incoming, bytesAtMost);
  if (bytes && !body) parseBody(noFields, parseJsonBytes(bytes));
  return body && bytes;
}

/** The body that `readBody` has read, as the endpoint's schema makes it, with its texts trimmed. Throws BAD_REQUEST. */
export function bodyOf({ body, bodyOptional }: Pick<HttpEndpoint, "body" | "bodyOptional">, bytes: Buffer | undefined): unknown {
  if (!body || (!bytes && !bodyOptional)) return undefined;
  return parseBody(body, bytes ? parseJsonBytes(bytes) : {});
}

function parseBody(schema: z.ZodType, body: unknown): unknown {
  return parseInput(schema, trimTexts(body));
}
