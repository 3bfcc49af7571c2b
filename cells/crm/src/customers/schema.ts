import { email, type Given, id, nullable, nullFields, phone, resource, response, text, uniqueText } from "@cell/cell";
import { z } from "zod";
import { customFields } from "../custom-fields.ts";

export const mostTags = 50;
export const customerStatuses = ["lead", "active", "inactive"] as const;

const optional = (max: number) => nullable(text(max));

/** The fields of a customer that a caller may set. */
const fields = {
  name: uniqueText(255, 1).meta({ description: "Unique among the live customers", examples: ["某某公司"] }),
  contactName: optional(255).meta({ examples: ["张伟"] }),
  contactPhone: nullable(phone()).meta({ examples: ["13800138000"] }),
  contactEmail: nullable(email()).meta({ examples: ["contact@example.com"] }),
  industry: optional(100).meta({ examples: ["manufacturing"] }),
  level: optional(50).meta({ examples: ["A"] }),
  source: optional(100).meta({ examples: ["website"] }),
  status: z.enum(customerStatuses).meta({ examples: ["lead"] }),
  ownerId: text(128, 1).meta({ description: "The responsible user; default: the caller", examples: ["user-001"] }),
  address: optional(500),
  tags: z
    .array(text(64, 1))
    .max(mostTags)
    .meta({ examples: [["vip"]] }),
  notes: optional(10_000),
  customFields: customFields().meta({ examples: [{ region: "east" }] }),
};

/** The values of fields that a caller leaves out. */
export const blankCustomer = { ...nullFields(fields), status: "lead" as const, tags: [] as string[], customFields: {} };

const customerSchema = z
  .object({
    customerId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    ...fields,
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  })
  .meta({ id: "Customer" });

export const customer = resource("customer", customerSchema, { id: "customerId", label: "name" });

export const customerInput = z.strictObject(fields).partial().required({ name: true }).meta({ id: "CustomerInput" });
export type CustomerInput = Given<z.infer<typeof customerInput>>;

export const customerPatch = z.strictObject(fields).partial().meta({ id: "CustomerPatch" });
export type CustomerPatch = Given<z.infer<typeof customerPatch>>;

export const customerDeleted = response(z.object({ customerId: z.uuid(), deleted: z.literal(true) }).meta({ id: "CustomerDeleted" }));

export const mergeInput = z
  .strictObject({ sourceIds: z.array(id()).min(1).max(20).meta({ description: "The customers to merge into this one" }) })
  .meta({ id: "CustomerMerge" });

export type Customer = Omit<z.infer<typeof customerSchema>, "tenantId">;
