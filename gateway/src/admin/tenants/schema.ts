import { z } from "@hono/zod-openapi";
import { nameSchema, page, tenantIdSchema, timeSchema } from "../openapi.ts";

const placementSchema = z.strictObject({
  cell: z.string().openapi({ example: "crm" }),
  partition: z.string().openapi({ example: "crm-1" }),
  provisioned: z.boolean().describe("False while the cell may lack the tenant: repeat POST or DELETE to finish"),
});

const rateLimitSchema = z
  .int()
  .min(0)
  .max(1_000_000)
  .nullable()
  .describe("Requests per second, with bursts of twice as many; null: the gateway's setting, 0: no limit")
  .openapi({ example: null });

const quotaSchema = z
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .nullable()
  .describe(
    "Bytes that the tenant may store in a cell, indexes included; past it, writes that add data are 413 with `details.reason` QUOTA. null: no limit",
  )
  .openapi({ example: null });

export const tenantSchema = z
  .strictObject({
    tenantId: tenantIdSchema,
    name: z.string().openapi({ example: "Example Ltd" }),
    status: z.enum(["active", "suspended"]),
    rateLimit: rateLimitSchema,
    quotaBytes: quotaSchema,
    createdAt: timeSchema,
    placements: z.array(placementSchema).describe("Where the tenant's data is, by cell"),
  })
  .openapi("Tenant");
export type Tenant = z.infer<typeof tenantSchema>;

export const tenantListSchema = page(tenantSchema).openapi("TenantList");

export const tenantCreateSchema = z
  .strictObject({ tenantId: tenantIdSchema, name: nameSchema.openapi({ example: "Example Ltd" }) })
  .openapi("TenantCreate");

export const tenantPatchSchema = z
  .strictObject({ name: nameSchema, status: z.enum(["active", "suspended"]), rateLimit: rateLimitSchema, quotaBytes: quotaSchema })
  .partial()
  .refine((patch) => Object.keys(patch).length > 0, {
    error: "needs at least one of name, status, rateLimit and quotaBytes",
    params: { code: "REQUIRED" },
  })
  .openapi("TenantPatch", { example: { status: "suspended" } });
export type TenantPatch = z.infer<typeof tenantPatchSchema>;

export const tenantDeletedSchema = z.strictObject({ tenantId: tenantIdSchema, deleted: z.literal(true) }).openapi("TenantDeleted");
