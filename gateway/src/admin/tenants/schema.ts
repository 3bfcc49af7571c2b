import { z } from "zod";
import { nameSchema, page, tenantIdSchema, timeSchema } from "../schemas.ts";

const placementSchema = z.strictObject({
  cell: z.string().meta({ example: "crm" }),
  partition: z.string().meta({ example: "crm-1" }),
  provisioned: z.boolean().describe("False while the cell may lack the tenant: repeat POST or DELETE to finish"),
});

const rateLimitSchema = z
  .int()
  .min(0)
  .max(1_000_000)
  .nullable()
  .describe("Requests per second, with bursts of twice as many; null: the gateway's setting, 0: no limit")
  .meta({ example: null });

const quotaSchema = z
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .nullable()
  .describe(
    "Bytes that the tenant may store in a cell, indexes included; past it, writes that add data are 413 with `details.reason` QUOTA. null: no limit",
  )
  .meta({ example: null });

export const tenantSchema = z
  .strictObject({
    tenantId: tenantIdSchema,
    name: z.string().meta({ example: "Example Ltd" }),
    status: z.enum(["active", "suspended"]),
    rateLimit: rateLimitSchema,
    quotaBytes: quotaSchema,
    createdAt: timeSchema,
    placements: z.array(placementSchema).describe("Where the tenant's data is, by cell"),
  })
  .meta({ id: "Tenant" });
export type Tenant = z.infer<typeof tenantSchema>;

export const tenantListSchema = page(tenantSchema).meta({ id: "TenantList" });

export const tenantCreateSchema = z
  .strictObject({ tenantId: tenantIdSchema, name: nameSchema.meta({ example: "Example Ltd" }) })
  .meta({ id: "TenantCreate" });

export const tenantPatchSchema = z
  .strictObject({ name: nameSchema, status: z.enum(["active", "suspended"]), rateLimit: rateLimitSchema, quotaBytes: quotaSchema })
  .partial()
  .refine((patch) => Object.keys(patch).length > 0, {
    error: "needs at least one of name, status, rateLimit and quotaBytes",
    params: { code: "REQUIRED" },
  })
  .meta({ id: "TenantPatch", example: { status: "suspended" } });
export type TenantPatch = z.infer<typeof tenantPatchSchema>;

export const tenantDeletedSchema = z.strictObject({ tenantId: tenantIdSchema, deleted: z.literal(true) }).meta({ id: "TenantDeleted" });
