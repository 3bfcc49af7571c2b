import { expect, test } from "vitest";
import { type ParsedFilter, parseFilterText } from "./filter-syntax.ts";

/** A filter as one line: `field op value|value`, groups in brackets. */
function written(filter: ParsedFilter | undefined): string {
  if (!filter) return "";
  if (filter.kind === "condition") return `${filter.field} ${filter.operator} ${filter.values.join("|")}`;
  return `[${filter.parts.map(written).join(` ${filter.kind} `)}]`;
}

const parsed = (text: string) => written(parseFilterText(text));

test.each([
  ["", ""],
  ["  \n ", ""],
  ["a[eq]:1", "a eq 1"],
  ["a[eq]:1 and b[eq]:2 and c[eq]:3", "[a eq 1 and b eq 2 and c eq 3]"],
  ["a[eq]:1 or b[eq]:2 and c[eq]:3", "[a eq 1 or [b eq 2 and c eq 3]]"],
  ["(a[eq]:1 or b[eq]:2) and c[eq]:3", "[[a eq 1 or b eq 2] and c eq 3]"],
  ["c[eq]:3 AND(a[eq]:1 Or(b[eq]:2))", "[c eq 3 and [a eq 1 or b eq 2]]"],
  ["(((((a[eq]:1)))))", "a eq 1"],
  ["  a[eq]: x y\n and\tb[in]: p , q ", "[a eq x y and b in p|q]"],
  ["a[eq]:android order", "a eq android order"],
  ["a[eq]:and", "a eq and"],
  ['a[eq]:"1 and 2 or (3)" or b[eq]:x', "[a eq 1 and 2 or (3) or b eq x]"],
  ['a[eq]:"say \\"hi\\" \\\\ \\n"', 'a eq say "hi" \\ \\n'],
  ['(a[eq]:"x")and(b[eq]:5" pipe)', '[a eq x and b eq 5" pipe]'],
  ['a[in]:"x,y" , z,"(w)"', "a in x,y|z|(w)"],
  ["a[eq]:x,y", "a eq x,y"],
  ["a[eq]:\u3000全角\u3000and b[eq]:1", "[a eq 全角 and b eq 1]"],
])("%j is read as %s", (text, expected) => {
  expect(parsed(text)).toBe(expected);
});

test.each([
  ["a[eq]", /field\[op\]:value/],
  ["a[eq]:", /needs a value.*isNull/],
  ['a[eq]:""', /needs a value/],
  ["a[eq]: and b[eq]:1", /needs a value/],
  ["a[in]:x,,y", /needs a value/],
  ["a[in]:x,", /needs a value/],
  ["a[eq]:1 and", /ends where/],
  ["and a[eq]:1", /field\[op\]:value/],
  ["a[eq]:1 or or b[eq]:1", /field\[op\]:value/],
  ["a[eq]:this or that", /double quotes/],
  ["a[eq]:Acme (China)", /double quotes/],
  ["a[eq]:1)", /double quotes/],
  ["(a[eq]:1", /closing parenthesis/],
  ["()", /field\[op\]:value/],
  ["(a[eq]:1) b[eq]:2", /"and" or "or"/],
  ["a[eq]:1 b[eq]:2", /"and" or "or"/],
  ["a[eq]:1, b[eq]:2", /"and" or "or"/],
  ['a[eq]:"1" b[eq]:2', /"and" or "or"/],
  ['a[eq]:"1"2', /"and" or "or"/],
  ['a[eq]:"1', /not closed/],
  ['a[eq]:"1\\"', /not closed/],
  ["((((((a[eq]:1))))))", /5 levels deep/],
  [Array.from({ length: 51 }, () => "a[eq]:1").join(" or "), /50 conditions/],
  [`a[in]:${Array.from({ length: 201 }, () => "1").join(",")}`, /200 values/],
])("%j is refused", (text, says) => {
  expect(() => parseFilterText(text)).toThrow(says);
});

test("a parsed value has its position in the filter, so that it can be masked there", () => {
  const text = '(a[eq]: "x y" or b[in]:1, 2 )and c[eq]:z';
  const places: string[] = [];
  const collect = (filter: ParsedFilter | undefined): void => {
    if (filter?.kind === "condition") places.push(text.slice(filter.from, filter.to).trim());
    else filter?.parts.forEach(collect);
  };
  collect(parseFilterText(text));
  expect(places).toEqual(['"x y"', "1, 2", "z"]);
});

test.each([
  ["blanks", (n: number) => `a[eq]:x${" ".repeat(n)}y`],
  ["leading blanks", (n: number) => `${" ".repeat(n)}a[eq]:x`],
  ["letters", (n: number) => "a".repeat(n)],
  ["words", (n: number) => `a[eq]:${"an ".repeat(n / 3)}`],
  ["brackets", (n: number) => `a[eq]:${"a[".repeat(n / 2)}`],
  ["backslashes", (n: number) => `a[eq]:"${"\\".repeat(n)}`],
  ["parentheses", (n: number) => "(".repeat(n)],
])("ten times as many %s cost some ten times as much, not a hundred", (_, make) => {
  const cost = (text: string) => {
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      const { user: begun } = process.cpuUsage();
      for (let times = 0; times < 20; times++) {
        try {
          parseFilterText(text);
        } catch {
          // What is refused has to be refused as fast.
        }
      }
      times.push(process.cpuUsage().user - begun);
    }
    return Math.min(...times);
  };
  expect(cost(make(40_000)) / Math.max(cost(make(4_000)), 500)).toBeLessThan(40);
});
