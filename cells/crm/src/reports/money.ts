import { formatMoney } from "@cell/cell";
import Big from "big.js";

/** Exact sums in one currency. */
export interface Sums {
  currency: string;
  count: number;
  /** By their names in the response, in the currency's unit; unrounded. */
  amounts: Readonly<Record<string, Big>>;
}

/** The tenant's own currency, and the value of one unit of others in it. */
export interface CurrencyConverter {
  currency: string;
  rates: Readonly<Record<string, string>>;
}

/** The currency of a response's plain amounts. */
export interface Basis {
  /** Null if there are several currencies and a rate is missing: then every plain amount is null. */
  currency: string | null;
  /** Several currencies were converted into the tenant's. */
  converted: boolean;
  /** The currencies without a rate. */
  missingRates: string[];
  rates: Readonly<Record<string, string>>;
}

const zero = new Big(0);

/** A single currency stays; several are converted into the tenant's if it has all their rates, and are otherwise not added. */
export function basisOf(rows: readonly { currency: string }[], { currency: own, rates }: CurrencyConverter): Basis {
  const current = [...new Set(rows.map(({ currency }) => currency))].sort();
  if (current.length <= 1) return { currency: current[0] ?? own, converted: false, missingRates: [], rates: {} };
  const missingRates = current.filter((currency) => currency !== own && rates[currency] === undefined);
  return {
    currency: missingRates.length > 0 ? null : own,
    converted: missingRates.length === 0,
    missingRates,
    rates: { ...rates, [own]: "1" },
  };
}

/** The exact total in the basis' currency; null if there is none. */
export function totalOf(rows: readonly Sums[], name: string, { currency, converted, rates }: Basis): Big | null {
  if (currency === null) return null;
  return rows.reduce((total, row) => total.plus((row.amounts[name] ?? zero).times(converted ? (rates[row.currency] ?? 0) : 1)), zero);
}

/** Formats an exact amount; the only rounding. */
export function moneyText(amount: Big | null, currency: string | null): string | null {
  return amount === null || currency === null ? null : formatMoney(amount.toFixed(), currency);
}

/** The plain amounts of one part of a response. */
export function plainAmounts<Name extends string>(
  rows: readonly Sums[],
  names: readonly Name[],
  basis: Basis,
): Record<Name, string | null> {
  return Object.fromEntries(names.map((name) => [name, moneyText(totalOf(rows, name, basis), basis.currency)])) as Record<
    Name,
    string | null
  >;
}

/** The same amounts in each currency. */
export function byCurrency<Name extends string>(
  rows: readonly Sums[],
  names: readonly Name[],
): ({ currency: string; count: number } & Record<Name, string>)[] {
  return merged(rows).map(({ currency, count, amounts }) => ({
    currency,
    count,
    ...(Object.fromEntries(names.map((name) => [name, formatMoney((amounts[name] ?? zero).toFixed(), currency)])) as Record<Name, string>),
  }));
}

export function countOf(rows: readonly { count: number }[]): number {
  return rows.reduce((total, { count }) => total + count, 0);
}

/** One row per currency, ordered by code. */
function merged(rows: readonly Sums[]): Sums[] {
  const known = new Map<string, Sums>();
  for (const row of rows) {
    const before = known.get(row.currency);
    const names = new Set([...Object.keys(before?.amounts ?? {}), ...Object.keys(row.amounts)]);
    const amounts = Object.fromEntries([...names].map((name) => [name, (before?.amounts[name] ?? zero).plus(row.amounts[name] ?? zero)]));
    known.set(row.currency, { currency: row.currency, count: (before?.count ?? 0) + row.count, amounts });
  }
  return [...known.values()].sort((one, other) => (one.currency < other.currency ? -1 : 1));
}

/** A share in percent with two decimals, rounded half-up; null if the whole is 0 or unknown. */
export function percent(part: Big | number | null, whole: Big | number | null): number | null {
  if (part === null || whole === null || new Big(whole).eq(0)) return null;
  return new Big(part).times(100).div(whole).round(2, Big.roundHalfUp).toNumber();
}

/** Seconds per item, in days with two decimals, rounded half-up; null without items. */
export function averageDays(seconds: Big | string | number, things: number): number | null {
  return things === 0 ? null : new Big(seconds).div(things).div(86_400).round(2, Big.roundHalfUp).toNumber();
}
