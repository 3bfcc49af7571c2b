import { defineSettings, type SettingsOf } from "@cell/cell";
import { badField } from "@cell/problem";
import { isRegion } from "../phone-number.ts";
import { fields } from "./schema.ts";

/** The settings in force, defaults included. */
export type Settings = SettingsOf<typeof fields>;

export const tenantSettings = defineSettings({
  permission: "crm:read",
  fields,
  defaults: { region: "CN", currency: "CNY", rates: {}, stuckAfterDays: 14, payments: { overpay: "accept" } },
  example: { timezone: "Asia/Shanghai", rates: { USD: "7.10" } },
  resets({ before, after, patch }) {
    if (after.currency !== before.currency && !patch.rates) return ["rates"];
    if (after.currency in after.rates)
      throw badField(`rates.${after.currency}`, "INVALID_FORMAT", "is the tenant's own currency, which needs no rate");
    return [];
  },
  async check({ region }) {
    if (region && !(await isRegion(region)))
      throw badField("region", "INVALID_ENUM", "must be a country whose phone numbers are known, such as CN, DE or US");
  },
});

export const { effective } = tenantSettings;
