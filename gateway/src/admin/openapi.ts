import { storable } from "@cell/http";
import { errorResponseRefs, headerRefs } from "@cell/http/openapi/components";
import { z } from "@hono/zod-openapi";

/** The error responses of a route, besides those of every route. */
export function problems(...statuses: number[]) {
  return errorResponseRefs([400, 401, 403, 405, 408, 413, 415, 429, 431, 500, 503, ...statuses]);
}

/** A 200, 201 or 202 with a JSON body. */
export function response<T extends z.ZodType>(description: string, schema: T) {
  return { description, headers: headerRefs("X-Request-ID"), content: { "application/json": { schema } } };
}

/** A 200 with a text of another media type. */
export function textResponse<Type extends string>(description: string, type: Type, example?: string) {
  const content = { [type]: { schema: z.string(), ...(example ? { example } : {}) } } as { [T in Type]: { schema: z.ZodString } };
  return { description, headers: headerRefs("X-Request-ID"), content };
}

/** The response of a list. */
export function page<T extends z.ZodType>(item: T) {
  return z.strictObject({
    data: z.array(item),
    total: z.int().openapi({ example: 1 }),
    page: z.int().openapi({ example: 1 }),
    pageSize: z.int().openapi({ example: 20 }),
  });
}

/** An integer in a query or a path. */
export function integerParam(min: number, max: number) {
  return z
    .string()
    .regex(/^(?:0|[1-9]\d{0,15})$/, "must be a whole number")
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .openapi({ type: "integer", minimum: min, maximum: max });
}

/** The paging parameters of every list. */
export const pageQuery = {
  page: integerParam(1, 1_000_000).default(1).describe("From 1"),
  pageSize: integerParam(1, 200).default(20).describe("Default 20, at most 200"),
};

export const tenantIdSchema = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, "must have 1 to 40 characters of a-z, 0-9 and inner hyphens")
  .describe("The tenant's id")
  .openapi({ example: "tenant-001" });

/** The name of a cell. */
export const cellSchema = z.string().max(30).describe("The cell's name").openapi({ example: "crm" });

const mostNameCharacters = 255;

export const nameSchema = z
  .string()
  .check((payload) => {
    const stored = storable(payload.value, mostNameCharacters);
    if ("text" in stored) payload.value = stored.text;
    else payload.issues.push({ code: "custom", input: payload.value, message: stored.fault, params: { code: "INVALID_FORMAT" } });
  })
  .min(1)
  .max(mostNameCharacters);

export const timeSchema = z.string().openapi({ format: "date-time", example: "2026-11-21T08:00:00.000Z" });

/** Every route under /api/admin needs a key. */
export const security = [{ bearer: [] }];
