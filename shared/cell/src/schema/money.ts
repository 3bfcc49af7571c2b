import Big from "big.js";
import { z } from "zod";
import { sensitive } from "./masking.ts";

const decimalPattern = /^-?\d{1,15}(\.\d{1,4})?$/;
/** What a caller may send, including a masked amount, which means "unchanged". */
const documentedPattern = {
  any: "^(?:\\d{1,15}(?:\\.\\d{1,4})?|\\*{4})$",
  positive: "^(?:(?!0+(?:\\.0+)?$)\\d{1,15}(?:\\.\\d{1,4})?|\\*{4})$",
};

/**
 * An amount of money. Input: a decimal string or a number, up to 15 digits and 4 decimals. Output: a decimal string. Sensitive.
 * A number that JSON cannot carry exactly is rejected.
 */
export function money(options: { positive?: boolean } = {}) {
  return sensitive(
    "amount",
    z
      .union([
        z.string().meta({ pattern: options.positive ? documentedPattern.positive : documentedPattern.any, maxLength: 40 }),
        z.number().meta(options.positive ? { exclusiveMinimum: 0 } : { minimum: 0 }),
      ])
      .refine((value) => isAmount(value) || isMasked(value), {
        error: 'is not a valid amount: send a decimal string such as "120000.00", with at most 15 digits and 4 decimals',
        params: { code: "INVALID_FORMAT" },
      })
      .refine((value) => options.positive || isMasked(value) || !isAmount(value) || !new Big(value).lt(0), {
        error: "must not be negative",
        params: { code: "OUT_OF_RANGE" },
      })
      .refine((value) => !options.positive || isMasked(value) || !isAmount(value) || new Big(value).gt(0), {
        error: "must be more than 0",
        params: { code: "OUT_OF_RANGE" },
      })
      .transform((value) => (isMasked(value) ? String(value) : new Big(value).toFixed()))
      .meta({ examples: ["120000.00"] }),
    { isMoney: true },
  );
}

function isMasked(value: unknown): boolean {
  return typeof value === "string" && value.includes("**");
}

function isAmount(value: string | number): boolean {
  if (typeof value === "number" && (!Number.isFinite(value) || Math.abs(value) >= 1e11)) return false;
  return decimalPattern.test(typeof value === "string" ? value.trim() : new Big(value).toFixed());
}

/** An amount as in responses but exact: with the decimals of the currency, and more if the amount has more. */
export function exactMoney(amount: string, currency: string): string {
  const exact = new Big(amount);
  return exact.toFixed(Math.max(minorUnit(currency), exact.toFixed().split(".")[1]?.length ?? 0));
}

/** Response schema of an amount: decimals of its currency, or masked. */
export function moneyResponse() {
  return z.string().meta({ pattern: "^(?:-?\\d+(?:\\.\\d+)?|\\*{4})$", examples: ["120000.00"] });
}

const currencyFault = "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD";

/** A currency code of ISO 4217, in capitals. */
export function currencyCode() {
  return z
    .string()
    .regex(/^[A-Z]{3}$/, { error: currencyFault, abort: true })
    .refine((code) => currencies.has(code), { error: currencyFault, params: { code: "INVALID_ENUM" } });
}

/** All currencies of ISO 4217. */
export const currencyCodes: readonly string[] = Intl.supportedValuesOf("currency");
const currencies = new Set(currencyCodes);
const decimals = new Map<string, number>();

/** Number of decimals of a currency: CNY 2, JPY 0, KWD 3. */
export function minorUnit(currency: string): number {
  let known = decimals.get(currency);
  if (known === undefined) {
    known = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
    decimals.set(currency, known);
  }
  return known;
}

/** Formats an amount for responses: rounded half-up (away from zero) to the currency's minor unit. */
export function formatMoney(amount: string, currency: string): string {
  return new Big(amount).toFixed(minorUnit(currency), Big.roundHalfUp);
}
