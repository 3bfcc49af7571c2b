import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { mostMarks, nameKey, storable, trimmed, trimTexts } from "./text.ts";

afterEach(() => vi.restoreAllMocks());

describe("a text as it is stored", () => {
  test.each([
    ["  Cafe\u0301 ", "Caf\u00e9"],
    ["\u0085\u3000 x \u00a0\u2028\u0085", "x"],
    ["\ufeffx", "x"],
    ["\u200b", ""],
    [" \u00ad\u2060\ufe0f\u3164\u0001\u2800 ", ""],
    ["a\u200bb", "a\u200bb"],
    ["👩‍💻", "👩‍💻"],
  ])("the stored form of %j is %j", (given, stored) => {
    expect(storable(given, 255)).toEqual({ text: stored });
  });

  test.each(["\0", "a\ud800", `a${"\u0301".repeat(mostMarks + 1)}`, `ｶ${"\uff9e".repeat(mostMarks + 1)}`])(
    "a text that cannot be stored or costs too much is rejected: %j",
    (given) => {
      expect(storable(given, 255)).toEqual({ fault: expect.any(String) });
    },
  );

  test("a text may have as many consecutive combining marks as stream-safe text, and any number of separate ones", () => {
    for (const given of [`a${"\u0301".repeat(mostMarks)}`, "e\u0301".repeat(200)]) expect(storable(given, 255)).toHaveProperty("text");
  });

  test("a text that is too long to become short enough is not normalized", () => {
    const normalize = vi.spyOn(String.prototype, "normalize");
    const kinds = ["a", "e\u0301", "\u0301", "\u1f82", "\uff9e", "\u0344\u0315"];
    for (const unit of kinds) storable(unit.repeat(300_000), 255);
    expect(normalize).not.toHaveBeenCalled();
    // The longest texts that compose into 255 characters: none is rejected.
    const given = "\u03b1\u0313\u0300\u0345".repeat(255);
    expect(storable(given, 255)).toEqual({ text: "\u1f82".repeat(255) });
  });

  test("the stored form of a stored text is the same", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (given) => {
        const first = storable(given, 255);
        if ("text" in first) expect(storable(first.text, 255)).toEqual(first);
      }),
    );
  });
});

test("exactly Unicode's white space is trimmed", () => {
  for (let code = 0; code <= 0xffff; code++) {
    const sign = String.fromCharCode(code);
    const isBlank = /^[\p{White_Space}\ufeff]$/u.test(sign);
    expect(trimmed(`${sign}x${sign}`), code.toString(16)).toBe(isBlank ? "x" : `${sign}x${sign}`);
  }
});

test("texts within a JSON value are trimmed at every level; names and other values stay", () => {
  const value = { " a ": " b ", c: [" d ", 1, null, { e: "\u0085f" }], g: true };
  expect(trimTexts(value)).toEqual({ " a ": "b", c: ["d", 1, null, { e: "f" }], g: true });
  expect(trimTexts({ a: " b ", c: [" d "] }, 1)).toEqual({ a: "b", c: [" d "] });
});

describe("names", () => {
  test.each([
    ["  ACME   Ltd ", "acme ltd"],
    ["ＡＣＭＥ　Ｌｔｄ", "acme ltd"],
    ["Straße", "STRASSE"],
    ["ΟΔΟΣ", "οδος"],
    ["é", "e\u0301"],
    ["Acme\u200b Ltd", "Acme Ltd"],
    ["Ac\u00adme \u2060\u200d Ltd\ufe0f", "Acme Ltd"],
    ["Acme\ufeffLtd", "AcmeLtd"],
    ["Acme\u0001 \u0085\u2800Ltd", "Acme Ltd"],
    ["e\u200b\u0301", "é"],
    ["ΟΔΟΣ\u00ad", "οδοσ"],
    ["ＴＸ １", "tx 1"],
  ])("the names %j and %j are equal", (one, other) => {
    expect(nameKey(one)).toBe(nameKey(other));
  });

  test.each([
    ["Acme", "Acme 2"],
    ["AB", "A B"],
    ["ab", "aб"],
  ])("the names %j and %j differ", (one, other) => {
    expect(nameKey(one)).not.toBe(nameKey(other));
  });

  test("a name's key does not depend on case, white space or invisible characters, and is its own key", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.constantFrom("\u200b", "\u00ad", "\u2060", "\u0003"), (name, invisible) => {
        expect(nameKey(nameKey(name))).toBe(nameKey(name));
        expect(nameKey(` ${name}\t`)).toBe(nameKey(name));
        expect(nameKey(Array.from(name).join(invisible))).toBe(nameKey(name));
      }),
    );
  });

  test("an ASCII name has the same key with and without the fast path", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme-ascii" }), (name) => {
        expect(nameKey(name)).toBe(nameKey(`${name}\u200b`));
      }),
    );
  });
});
