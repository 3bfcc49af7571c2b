import { Problem } from "@cell/problem";
import fc from "fast-check";
import { expect, test } from "vitest";
import { mostDepth, mostKeys, parseJson } from "./json.ts";

/** A JSON text in structured form; an object is a list of entries, so that a key can repeat. */
type Written = { text: string } | { items: Written[] } | { entries: [string, Written][] };

const anyKey = fc.oneof(fc.constantFrom("a", "b", "", "constructor", "prototype", "toString", "hasOwnProperty"), fc.string()).filter(
  // Rejected in any case; it has its own test.
  (key) => key !== "__proto__",
);
const scalar = fc.oneof(
  fc.string({ unit: "grapheme" }).map((value) => JSON.stringify(value)),
  fc.constantFrom("null", "true", "false", "0", "-0", "-1.5", "999999999999999", "0.30000000000000004", '"\\\\"', '"{\\"a\\":[1]}"'),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
);
const { written } = fc.letrec<{ written: Written }>((tie) => ({
  written: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar.map((text) => ({ text })),
    fc.array(tie("written"), { maxLength: 4 }).map((items) => ({ items })),
    fc.array(fc.tuple(anyKey, tie("written")), { maxLength: 5 }).map((entries) => ({ entries })),
  ),
}));

function write(value: Written, blank: string): string {
  if ("text" in value) return value.text;
  if ("items" in value) return `[${value.items.map((item) => blank + write(item, blank)).join(`${blank},`)}]`;
  return `{${value.entries.map(([key, inner]) => `${blank}${JSON.stringify(key)}${blank}:${write(inner, blank)}`).join(",")}}`;
}

/** The path of the first repeated key, found by the obvious slow algorithm. */
function repeatedIn(value: Written, path: string[] = []): string | undefined {
  if ("text" in value) return undefined;
  if ("items" in value) return firstOf(value.items.map((item, index) => () => repeatedIn(item, [...path, String(index)])));
  return firstOf(
    value.entries.map(([key, inner], index) => () => {
      const before = value.entries.slice(0, index).some(([earlier]) => earlier === key);
      return before ? [...path, key].join(".") : repeatedIn(inner, [...path, key]);
    }),
  );
}

function firstOf(looks: (() => string | undefined)[]): string | undefined {
  for (const inspect of looks) {
    const found = inspect();
    if (found !== undefined) return found;
  }
  return undefined;
}

function errorResponseOf(text: string): { path: string; code: string } | undefined {
  try {
    parseJson(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "BAD_REQUEST") throw error;
    const [field] = (error.details?.fields ?? []) as { path: string; code: string }[];
    return field ?? { path: "", code: "MALFORMED" };
  }
}

test("parseJson equals JSON.parse unless a key repeats; then it names the first such path", () => {
  fc.assert(
    fc.property(written, fc.constantFrom("", " ", "\n\t "), (value, blank) => {
      const text = write(value, blank);
      const repeated = repeatedIn(value);
      if (repeated === undefined) expect(parseJson(text)).toEqual(JSON.parse(text));
      else expect(errorResponseOf(text)).toMatchObject({ path: repeated, code: "REPEATED" });
    }),
    { numRuns: 2_000 },
  );
});

test("parseJson rejects a text exactly where JSON.parse does, or by one of its own rules", () => {
  const pieces = fc.constantFrom(...'{}[]:,"\\ue0159-+.aE \n', "\\u0000", "\\ud800", "null", "__proto__", '"a":1');
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((list) => list.join("")),
      ),
      (text) => {
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        const rejection = errorResponseOf(text);
        if (!isJson) expect(rejection).toBeDefined();
        else if (rejection) expect(rejection.code).not.toBe("MALFORMED");
      },
    ),
    { numRuns: 5_000 },
  );
});

test("parseJson keeps a number exactly or rejects it by its path", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^-?(0|[1-9]\d{0,24})(\.\d{1,24})?(e[+-]?\d{1,3})?$/), (token) => {
      const refused = errorResponseOf(`{"a":[0,{"b":${token}}]}`);
      const [digits, exponent] = decimal(token);
      const [readDigits, readExponent] = decimal(String(Number(token)));
      const isExact = Number.isFinite(Number(token)) && digits === readDigits && exponent === readExponent;
      if (isExact) expect(refused).toBeUndefined();
      else expect(refused).toMatchObject({ path: "a.1.b", code: "INVALID_FORMAT" });
    }),
    { numRuns: 3_000 },
  );
  for (const token of ["1e999", "-1e999", "1e-400", "123456789012345678901234567890", "9007199254740993", "1.00000000000000000001"])
    expect(errorResponseOf(token), token).toMatchObject({ code: "INVALID_FORMAT" });
  for (const token of ["0.1", "-0", "1e3", "9007199254740992", "120000.00", "0.30000000000000004", "1e22"])
    expect(errorResponseOf(token), token).toBeUndefined();
});

/** A number's digits without zeros at either end, and the power of ten of the last digit. */
function decimal(token: string): [digits: string, exponent: number] {
  const [, sign = "", whole = "", fraction = "", power = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e(.+))?$/.exec(token) ?? [];
  const all = (whole + fraction).replace(/^0+/, "");
  const digits = all.replace(/0+$/, "");
  return digits === "" ? ["0", 0] : [sign + digits, Number(power) - fraction.length + all.length - digits.length];
}

test.each([
  ['{"a":1,"a":2}', "a", "REPEATED"],
  ['{"a":1,"\\u0061":2}', "a", "REPEATED"],
  ['{"x":[{"y":{"z":0,"z":0}}]}', "x.0.y.z", "REPEATED"],
  ['{"__proto__":{"admin":true}}', "__proto__", "UNKNOWN_FIELD"],
  ['{"a":[{"__pr\\u006fto__":1}]}', "a.0.__proto__", "UNKNOWN_FIELD"],
  ['{"a":"x\\u0000y"}', "a", "INVALID_FORMAT"],
  ['{"a":["\\ud800"]}', "a.0", "INVALID_FORMAT"],
  ['{"a":{"\\udc00":1}}', "a", "INVALID_FORMAT"],
])("parseJson rejects %s at %s", (text, path, code) => {
  expect(errorResponseOf(text)).toMatchObject({ path, code });
});

test.each([
  "",
  " ",
  "{",
  "{} {}",
  "{},",
  "[1,]",
  "{a:1}",
  "NaN",
  "Infinity",
  "-Infinity",
  "01",
  "1.",
  "+1",
  "0x10",
  '"\n"',
  "'a'",
  "\uFEFF1",
  "nul",
])("parseJson rejects %j as malformed", (text) => {
  expect(errorResponseOf(text)).toMatchObject({ code: "MALFORMED" });
});

test("parseJson treats names such as constructor as plain data", () => {
  const value = parseJson('{"constructor":{"prototype":{"x":1}},"toString":2,"hasOwnProperty":3}');
  expect(value).toEqual(JSON.parse('{"constructor":{"prototype":{"x":1}},"toString":2,"hasOwnProperty":3}'));
  expect(({} as { x?: number }).x).toBeUndefined();
});

test("parseJson limits nesting and keys", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  expect(errorResponseOf(nested(mostDepth))).toBeUndefined();
  for (const levels of [mostDepth + 1, 1_000, 1_000_000]) expect(errorResponseOf(nested(levels))).toMatchObject({ code: "TOO_DEEP" });
  expect(errorResponseOf("[".repeat(1_000_000))).toMatchObject({ code: "TOO_DEEP" });
  const keyed = (count: number) => JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 0])));
  expect(errorResponseOf(keyed(mostKeys))).toBeUndefined();
  expect(errorResponseOf(keyed(mostKeys + 1))).toMatchObject({ code: "TOO_LONG" });
  expect(Object.keys(parseJson(keyed(mostKeys + 1), mostKeys + 1) as object).length).toBe(mostKeys + 1);
  expect(errorResponseOf(JSON.stringify({ colons: ":".repeat(5_000), braces: "[{".repeat(5_000) }))).toBeUndefined();
});
