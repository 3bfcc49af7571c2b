import { currencyCode, inStoredOrder } from "@cell/cell";
import { z } from "zod";

const currency = currencyCode();

const rate = z
  .string()
  .regex(/^\d{1,12}(\.\d{1,10})?$/, 'must be a decimal string such as "7.1025"')
  .refine((value) => /[1-9]/.test(value), "must be more than 0");

/** Values in the order in which the database returns them. */
function inOrder<Values extends z.ZodRecord>(values: Values): Values {
  return values.overwrite((given) => inStoredOrder(given) as typeof given);
}

/** The CRM's own settings that an administrator can change. */
export const fields = {
  region: z
    .string()
    .regex(/^[A-Z]{2}$/, "must be a country code of ISO 3166-1, such as CN")
    .meta({ description: "Where phone numbers without a country code belong, by which they are compared", examples: ["CN"] }),
  currency: currency.meta({ description: "The tenant's own currency", examples: ["CNY"] }),
  rates: inOrder(z.record(currency, rate)).meta({
    description:
      'The value of one unit of each currency in the tenant\'s own: with CNY, {"USD": "7.10"} makes 100 USD 710 CNY. A new `currency` empties it',
    examples: [{ USD: "7.10" }],
  }),
  stuckAfterDays: z
    .int()
    .min(1)
    .max(3650)
    .meta({ description: "From then on an opportunity counts as stuck in its stage", examples: [14] }),
  payments: z.strictObject({
    overpay: z.enum(["accept", "reject"]).meta({
      description:
        "Whether more than a contract's amount may be paid. A refusal tells that what was sent is too much, to callers without amount:read too",
    }),
  }),
};
