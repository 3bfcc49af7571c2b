import fc from "fast-check";
import { expect, test } from "vitest";
import { compactJson } from "./json-compact.ts";

/** The compact form of a text; undefined if it has to be parsed. */
function compacted(text: string): string | undefined {
  const bytes = Buffer.from(`x${text}0000`);
  const out = Buffer.alloc(bytes.length);
  const end = compactJson(bytes, 1, bytes.length - 4, out, 0);
  return end < 0 ? undefined : out.toString("utf8", 0, end);
}

test("compactJson writes exactly what JSON.stringify writes, or nothing", () => {
  const spaces = fc.constantFrom("", " ", "\n\t");
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), spaces, (text, space) => {
      const written = compacted(JSON.stringify(JSON.parse(text), null, space));
      if (written !== undefined) expect(written).toBe(JSON.stringify(JSON.parse(text)));
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  ['{"shopId": "1001", "a" : [1, 2.5, -3]}', '{"shopId":"1001","a":[1,2.5,-3]}'],
  ['"a : b, c"', '"a : b, c"'],
  ['{"a \\" : 1": "\\\\"}', '{"a \\" : 1":"\\\\"}'],
  ["[0.000001, 123456.789, true, null, {}]", "[0.000001,123456.789,true,null,{}]"],
  ["0.0000001", undefined],
  ["10.00", undefined],
  ["0.00", undefined],
  ["-0", undefined],
  ["1e5", undefined],
  ["1000000000000000000000", undefined],
  ['{"b": 1, "10": 2}', undefined],
])("%s becomes %s", (text, expected) => {
  expect(compacted(text)).toBe(expected);
});
