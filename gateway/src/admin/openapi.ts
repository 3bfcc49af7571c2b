import { statusOf } from "@cell/problem";
import { z } from "@hono/zod-openapi";

const problemSchema = z
  .object({
    code: z.enum(Object.keys(statusOf) as [keyof typeof statusOf]).openapi({ example: "NOT_FOUND" }),
    message: z.string().openapi({ example: "Tenant not found" }),
    requestId: z.string().openapi({ example: "req-uuid-001" }),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi("Problem");

const meanings: Record<number, string> = {
  400: "The request is not valid",
  401: "No valid token",
  403: "Not allowed",
  404: "Not found",
  405: "The path takes other methods",
  408: "The request did not arrive in time",
  409: "In conflict with what there is",
  413: "The body is too large",
  415: "The body is of another media type",
  429: "Too many requests or failed attempts; see Retry-After",
  431: "The request's head is too large",
  500: "A fault of ours",
  503: "Away for a moment; see Retry-After",
};

/** The failures that a route declares, besides those that any route can have. */
export function problems(...statuses: (keyof typeof meanings)[]) {
  const all = [...new Set([400, 401, 403, 408, 413, 415, 429, 431, 500, 503, ...statuses])].sort();
  return Object.fromEntries(
    all.map((status) => [status, { description: meanings[status] ?? "", content: { "application/json": { schema: problemSchema } } }]),
  );
}

/** A 200 or 201 with a JSON body. */
export function answer<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } };
}

/** A list's answer. */
export function page<T extends z.ZodType>(item: T) {
  return z.strictObject({
    data: z.array(item),
    total: z.int().openapi({ example: 1 }),
    page: z.int().openapi({ example: 1 }),
    pageSize: z.int().openapi({ example: 20 }),
  });
}

/** The paging parameters of every list. */
export const pageQuery = {
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
  pageSize: z.coerce.number().int().min(1).max(200).default(20),
};

export const tenantIdSchema = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, "1 to 40 of a-z, 0-9 and inner hyphens")
  .openapi({ example: "tenant-001" });

export const nameSchema = z
  .string()
  .trim()
  .normalize("NFC")
  .min(1)
  .max(255)
  .refine((text) => !text.includes("\0"), "no NUL");

export const timeSchema = z.string().openapi({ format: "date-time", example: "2026-11-21T08:00:00.000Z" });

/** Every route under /api/admin takes a key. */
export const security = [{ bearer: [] }];
