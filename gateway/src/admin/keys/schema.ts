import { permissionPattern } from "@cell/http";
import { z } from "zod";
import { userIdPattern } from "../../auth/request-identity.ts";
import { roleNames } from "../../auth/roles.ts";
import { nameSchema, page, tenantIdSchema, timeSchema } from "../schemas.ts";

const exampleKey = "crm_live_Zk3a9Q0000000000000000000000000a";

const permissionSchema = z
  .string()
  .regex(permissionPattern, "must be a permission such as crm:read")
  .describe("One of the framework's permissions, or of those that a cell declares")
  .meta({ id: "Permission", example: "crm:read" });
const userIdSchema = z
  .string()
  .regex(userIdPattern, "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")
  .meta({ example: "user-001" });

export const keySchema = z
  .strictObject({
    keyId: z.uuid(),
    tenantId: tenantIdSchema,
    userId: userIdSchema,
    role: z.enum(roleNames),
    permissions: z.array(permissionSchema).describe("What the key may do: the role's permissions, or those given instead"),
    actAs: z.boolean().describe("May act for other users of its tenant by X-User-Id"),
    name: z.string().nullable(),
    prefix: z.string().meta({ example: "crm_live_Zk3a9Q" }).describe("The beginning of the key, to recognize it"),
    env: z.string().meta({ example: "live" }),
    createdAt: timeSchema,
    expiresAt: timeSchema.nullable(),
    lastUsedAt: timeSchema.nullable().describe("Accurate to the minute"),
    revokedAt: timeSchema.nullable(),
    rotatedFrom: z.uuid().nullable().describe("The key that this one replaced"),
  })
  .meta({ id: "Key" });
export type Key = z.infer<typeof keySchema>;

export const issuedKeySchema = z
  .strictObject({ ...keySchema.shape, key: z.string().describe("The key itself; it is not shown again").meta({ example: exampleKey }) })
  .meta({ id: "IssuedKey" });

export const keyListSchema = page(keySchema).meta({ id: "KeyList" });

export const keyCreateSchema = z
  .strictObject({
    tenantId: tenantIdSchema.optional().describe("Required for the operator; otherwise the caller's own tenant"),
    userId: userIdSchema,
    role: z.enum(roleNames),
    permissions: z.array(permissionSchema).max(200).optional().describe("Instead of the role's"),
    actAs: z.boolean().default(false),
    name: nameSchema.optional(),
    expiresAt: z.iso.datetime({ offset: true }).optional().meta({ example: "2027-01-01T00:00:00Z" }),
  })
  .meta({ id: "KeyCreate", example: { tenantId: "tenant-001", userId: "user-001", role: "sales" } });

export const keyRotateSchema = z
  .strictObject({ graceSeconds: z.int().min(0).max(86_400).default(0).describe("How long the old key stays valid") })
  .meta({ id: "KeyRotate" });

export const keyRevokedSchema = z.strictObject({ keyId: z.uuid(), revoked: z.literal(true) }).meta({ id: "KeyRevoked" });
