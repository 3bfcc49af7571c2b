import fc from "fast-check";
import { expect, test } from "vitest";
import { currencyCode, formatMoney, money } from "./money.ts";

test.each([
  ["1.005", "CNY", "1.01"],
  ["1.0049", "CNY", "1.00"],
  ["-1.005", "CNY", "-1.01"],
  ["120000", "CNY", "120000.00"],
  ["0.5", "JPY", "1"],
  ["1.2345", "KWD", "1.235"],
  ["999999999999999.9999", "CNY", "1000000000000000.00"],
])("the amount %s %s is formatted as %s", (amount, currency, text) => {
  expect(formatMoney(amount, currency)).toBe(text);
});

test.each(["12", "12.5", "0", 12, 12.1, 0.1, "999999999999999.9999"])("%s is a valid amount", (value) => {
  expect(money().safeParse(value).success).toBe(true);
});

test.each(["", "1,000", "1e3", "-1", "NaN", "1.23456", 1e20, -0.01, Number.MAX_SAFE_INTEGER, "١٢", " ", "0x10"])(
  "%s is not a valid amount",
  (value) => {
    expect(money().safeParse(value).success).toBe(false);
  },
);

test("0 is not a valid amount if it has to be positive", () => {
  expect(money({ positive: true }).safeParse("0.00").success).toBe(false);
});

test("amounts in JSON numbers are exact to the cent", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (cents) => {
      expect(formatMoney(money().parse(cents / 100), "CNY")).toBe(`${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, "0")}`);
    }),
  );
});

test("a currency code must be one of ISO 4217", () => {
  expect(["CNY", "USD", "XXY", "usd"].map((code) => currencyCode().safeParse(code).success)).toEqual([true, true, false, false]);
});
