import { email, id, nameText, nullable, nullFields, phone, resource, response, text } from "@cell/cell";
import { z } from "zod";

const fields = {
  name: nameText().meta({ examples: ["张伟"] }),
  title: nullable(text(100)).meta({ examples: ["采购经理"] }),
  phone: nullable(phone()).meta({ examples: ["13800138000"] }),
  email: nullable(email()).meta({ examples: ["zhang@example.com"] }),
  isPrimary: z
    .boolean()
    .meta({ description: "The contact to call first; making one primary makes the customer's previous one non-primary" }),
  notes: nullable(text(10_000)),
};
/** The values of fields that a caller leaves out. */
export const blankContact = { ...nullFields(fields), isPrimary: false };
const customerId = id().meta({ description: "The customer that this person works for" });

const contactSchema = z
  .object({
    contactId: z.uuid(),
    tenantId: z.string(),
    customerId,
    ...fields,
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  })
  .meta({ id: "Contact" });

export const contact = resource("contact", contactSchema, { id: "contactId", label: "name" });
export type Contact = Omit<z.infer<typeof contactSchema>, "tenantId">;

export const contactInput = z
  .strictObject({ customerId, ...fields })
  .partial()
  .required({ customerId: true, name: true })
  .meta({ id: "ContactInput" });

export const contactPatch = z.strictObject(fields).partial().meta({ id: "ContactPatch" });

export const contactDeleted = response(z.object({ contactId: z.uuid(), deleted: z.literal(true) }).meta({ id: "ContactDeleted" }));
