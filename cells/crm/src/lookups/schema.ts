import { email, phone, resource, response } from "@cell/cell";
import { z } from "zod";

/** A value to look up; it must not be empty or masked. */
const whole = (schema: z.ZodType<string, string>) =>
  schema.refine((value) => value !== "" && !value.includes("**"), {
    error: "must be complete, not masked or empty",
    params: { code: "INVALID_FORMAT" },
  });

export const lookupInput = z
  .strictObject({ phone: whole(phone()).meta({ examples: ["13800138000"] }), email: whole(email()) })
  .partial()
  .refine(({ phone: number, email: address }) => (number === undefined) !== (address === undefined), {
    error: "needs either a phone or an email",
    params: { code: "REQUIRED" },
  })
  .meta({ id: "LookupInput" });

const found = z
  .object({
    resourceType: z.enum(["customer", "contact"]).meta({ examples: ["customer"] }),
    resourceId: z.uuid(),
    customerId: z.uuid().meta({ description: "The record itself, or the customer of the contact" }),
    name: z.string().meta({ examples: ["某某公司"] }),
  })
  .meta({ id: "LookupMatch" });
export type LookupMatch = z.infer<typeof found>;

export const lookupResponse = response(z.object({ data: z.array(found).max(20) }).meta({ id: "LookupMatches" }));

/** A lookup in the audit trail. */
export const lookup = resource("lookup", z.object({ lookupId: z.uuid(), phone: phone(), email: email(), matches: z.int() }), {
  id: "lookupId",
  label: "lookupId",
});
