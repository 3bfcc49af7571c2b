import { z } from "zod";
import { text } from "../schema/fields.ts";
import type { Resource } from "../schema/resource.ts";
import { filterLimits } from "./filter-syntax.ts";
import { intParam } from "./list-parameters.ts";

/** Records of a page. */
export const pageSizes = { fallback: 20, most: 200 };

/** The query parameters of every list. */
export const listQuery = z.strictObject({
  page: intParam(1, 1_000_000)
    .optional()
    .meta({ description: "From 1", examples: [1] }),
  pageSize: intParam(1, pageSizes.most)
    .optional()
    .meta({
      description: `${pageSizes.fallback} by default, at most ${pageSizes.most}. If the records exceed 4 MB together, 413 names a size that fits`,
      examples: [20],
    }),
  cursor: z.string().max(2_000).optional().meta({
    description:
      "Where the page before ended (`nextCursor`); empty for the first page. Instead of `page`. A page of large records may hold fewer than `pageSize`",
  }),
  sort: z
    .string()
    .max(200)
    .optional()
    .meta({ description: "Fields, `-` for descending", examples: ["-createdAt,name"] }),
  filter: text(4_000)
    .optional()
    .meta({
      description: `\`field[op]:value\`, joined by \`and\`, \`or\` and parentheses; \`and\` binds tighter. op: eq ne in gt gte lt lte contains isNull.
A value with " and ", " or " or a parenthesis needs double quotes, in which \`\\"\` and \`\\\\\` are escapes; \`in\` takes comma-separated values.
A date stands for the tenant's day: \`[eq]\` that day, \`[lte]\` up to its end, \`[gt]\` after it. A value that a field cannot have is a 400 that lists the
valid ones. At most ${filterLimits.conditions} conditions, parentheses ${filterLimits.depth} levels deep. Fields that the caller may not read only take isNull`,
      examples: [
        "status[in]:lead,active and createdAt[gte]:2026-01-01",
        '(level[eq]:A or tags[eq]:vip) and name[contains]:"Black and White"',
      ],
    }),
  keyword: text(200)
    .optional()
    .meta({ description: "Substring search, any case", examples: ["公司"] }),
  ownerId: text(200, 1)
    .optional()
    .meta({ description: "Only this owner's records; `me` for the caller's own", examples: ["me"] }),
  total: z.enum(["exact"]).optional().meta({ description: "`exact` counts every match, however many" }),
  reveal: z
    .string()
    .max(200)
    .optional()
    .meta({
      description:
        "Masked fields to show, by comma; `amount` for every amount and the figures derived from it. Amounts need amount:read, all others pii:reveal, and are audited",
      examples: ["amount"],
    }),
});
export type ListQuery = z.infer<typeof listQuery>;

/** The schema of a list's response. */
export function listResponse(resource: Resource, extra: z.ZodRawShape = {}) {
  return z.object({
    data: z.array(resource.responseSchema),
    total: z.int().meta({ description: "Number of matches; a lower bound if totalIsLowerBound" }),
    totalIsLowerBound: z.literal(true).optional(),
    page: z.int(),
    pageSize: z.int(),
    nextCursor: z.string().nullable().meta({ description: "The `cursor` of the next page; null at the end" }),
    ...extra,
  });
}
