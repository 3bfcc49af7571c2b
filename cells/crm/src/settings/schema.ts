import { currencyCode, inStoredOrder, resource } from "@cell/cell";
import { z } from "zod";

const currency = currencyCode();

/** The spelling of each timezone by its name in lower case: `Intl` accepts any case. */
const timezones = new Map(["UTC", ...Intl.supportedValuesOf("timeZone")].map((name) => [name.toLowerCase(), name]));

const timezone = z
  .string()
  .max(64)
  .refine(isTimezone, "must be a timezone of the IANA database, such as Asia/Shanghai")
  .overwrite((name) => timezones.get(name.toLowerCase()) ?? name);

/** Rejects offsets such as +08:00, which Intl accepts too: they have no daylight saving time. */
function isTimezone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

const rate = z
  .string()
  .regex(/^\d{1,12}(\.\d{1,10})?$/, 'must be a decimal string such as "7.1025"')
  .refine((value) => /[1-9]/.test(value), "must be more than 0");

/** Values in the order in which the database returns them. */
function inOrder<Values extends z.ZodRecord>(values: Values): Values {
  return values.overwrite((given) => inStoredOrder(given) as typeof given);
}

/** The settings that an administrator can change. */
const fields = {
  timezone: timezone.meta({ description: "The timezone of calendar dates", examples: ["Asia/Shanghai"] }),
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
  requireRequestId: z.boolean().meta({ description: "Reject writes without a request id from the caller" }),
  idempotencyMode: z.enum(["replay", "reject"]).meta({ description: "The response to a repeated request id: the stored response, or 409" }),
};

const settingsSchema = z
  .object({ tenantId: z.string().meta({ examples: ["tenant-001"] }), ...fields, updatedAt: z.iso.datetime(), version: z.int() })
  .meta({ id: "Settings" });

export const settings = resource("settings", settingsSchema, { id: "tenantId", label: "tenantId" });

const patchFields = Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, schema.nullable()])) as {
  [Name in keyof typeof fields]: z.ZodNullable<(typeof fields)[Name]>;
};

export const settingsPatch = z.strictObject(patchFields).partial().meta({ id: "SettingsPatch", description: "null restores the default" });
export type SettingsPatch = z.infer<typeof settingsPatch>;

const settingsValues = z.object(fields);
/** The settings in force, defaults included. */
export type Settings = z.infer<typeof settingsValues>;
/** The record: the settings in force with their version. */
export type SettingsRecord = Settings & { updatedAt: string; version: number };
