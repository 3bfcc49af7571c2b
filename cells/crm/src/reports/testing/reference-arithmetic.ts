import { minorUnit } from "@cell/cell";

/** Integer arithmetic for the reference model of the reports. */
export interface Money {
  currency: string;
  /** In 10^-8 of the currency's unit. */
  values: Record<string, bigint>;
}

export const dayMs = 86_400_000;
export const time = (instant: string) => Date.parse(instant);

/** A decimal as an integer of 10^-places. */
export function scaled(text: string, places: number): bigint {
  const [whole = "0", fraction = ""] = text.split(".");
  return BigInt(whole + fraction.padEnd(places, "0"));
}

export function half(numerator: bigint, denominator: bigint): bigint {
  return (2n * numerator + denominator) / (2n * denominator);
}

export function written(value: bigint, places: number, currency: string): string {
  const decimals = minorUnit(currency);
  const digits = String(half(value, 10n ** BigInt(places - decimals))).padStart(decimals + 1, "0");
  return decimals === 0 ? digits : `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

export const percent = (part: bigint | number | null, whole: bigint | number | null) =>
  part === null || !whole ? null : Number(half(BigInt(part) * 10_000n, BigInt(whole))) / 100;
export const averageDays = (spansMs: number[]) => {
  const sum = BigInt(spansMs.reduce((total, span) => total + span, 0));
  return spansMs.length === 0 ? null : Number(half(sum * 100n, BigInt(spansMs.length * dayMs))) / 100;
};

/** Interpolated linearly between the two nearest, like `percentile_cont`. */
export function percentileDays(spansMs: number[], tenths: number): number | null {
  const sorted = [...spansMs].sort((one, other) => one - other);
  const place = (sorted.length - 1) * tenths;
  const [low, high] = [sorted[Math.floor(place / 10)], sorted[Math.ceil(place / 10)]];
  if (low === undefined || high === undefined) return null;
  return Number(half(BigInt(low * 10 + (high - low) * (place % 10)) * 100n, BigInt(10 * dayMs))) / 100;
}

/** The months of two dates, and those between. */
export function months(from: string, to: string): string[] {
  const found: string[] = [];
  for (let day = new Date(`${from.slice(0, 7)}-01`); day.toISOString().slice(0, 10) <= to; day.setUTCMonth(day.getUTCMonth() + 1))
    found.push(day.toISOString().slice(0, 7));
  return found;
}
