import { canonicalJson, defaultConventions, type StoredSettings } from "@cell/cell";
import { badField } from "@cell/problem";
import type { Settings, SettingsPatch } from "./schema.ts";

const defaults: Settings = {
  ...defaultConventions,
  currency: "CNY",
  rates: {},
  stuckAfterDays: 14,
  payments: { overpay: "accept" },
  requireRequestId: false,
  idempotencyMode: "replay",
};

/** The settings in force: stored values, and defaults for the others. */
export function effective(stored: StoredSettings): Settings {
  return { ...defaults, ...stored };
}

/**
 * The stored settings after a change; the same object if nothing changes. Null removes a value, and a new currency removes the rates of the
 * old one. Throws BAD_REQUEST for a rate of the tenant's own currency.
 */
export function patchedSettings(stored: StoredSettings, patch: SettingsPatch): StoredSettings {
  const next: Record<string, unknown> = { ...stored };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete next[name];
    else next[name] = value;
  }
  const { currency, rates } = effective(next);
  if (currency !== effective(stored).currency && !patch.rates) delete next.rates;
  else if (currency in rates) throw badField(`rates.${currency}`, "INVALID_FORMAT", "is the tenant's own currency, which needs no rate");
  return canonicalJson(effective(next)) === canonicalJson(effective(stored)) ? stored : next;
}
