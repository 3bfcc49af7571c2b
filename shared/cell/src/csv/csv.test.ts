import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { csvText, guard, joinList, splitList, unguard } from "./csv.ts";

describe("a cell", () => {
  test("a guarded cell round-trips, and does not begin like a formula", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom("'", "=", "+", "-", "@", "\t", "\r", "a") }));
    fc.assert(
      fc.property(text, (value) => {
        expect(unguard(guard(value))).toBe(value);
        expect(guard(value)).not.toMatch(/^[=+\-@\t\r]/);
      }),
    );
  });

  test("a cell is quoted if it would otherwise be read as several", () => {
    expect(["plain", 'a"b', "a,b", "a\nb", "+86138", "'=x", "'x", ""].map(csvText)).toEqual([
      "plain",
      '"a""b"',
      '"a,b"',
      '"a\nb"',
      "'+86138",
      "''=x",
      "'x",
      "",
    ]);
  });

  test("a list in a cell round-trips", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "华", ";", "|", "；", "\\", " "), minLength: 1 }).map((value) => value.trim());
    const words = fc.array(word.filter((value) => value !== ""));
    fc.assert(
      fc.property(words, (given) => {
        expect(splitList(joinList(given))).toEqual(given);
      }),
    );
  });
});
