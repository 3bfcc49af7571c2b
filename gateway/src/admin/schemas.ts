import { storable } from "@cell/http";
import { z } from "zod";

/** The response of a list. */
export function page<T extends z.ZodType>(item: T) {
  return z.strictObject({
    data: z.array(item),
    total: z.int().meta({ example: 1 }),
    page: z.int().meta({ example: 1 }),
    pageSize: z.int().meta({ example: 20 }),
  });
}

/** An integer in a query or a path. */
export function integerParam(min: number, max: number) {
  return z
    .string()
    .regex(/^(?:0|[1-9]\d{0,15})$/, "must be a whole number")
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .meta({ type: "integer", minimum: min, maximum: max });
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
  .meta({ example: "tenant-001" });

/** The name of a cell. */
export const cellSchema = z.string().max(30).describe("The cell's name").meta({ example: "crm" });

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

export const timeSchema = z.string().meta({ format: "date-time", example: "2026-11-21T08:00:00.000Z" });
