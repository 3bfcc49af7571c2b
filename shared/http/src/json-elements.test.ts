import { Problem } from "@cell/problem";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseJson } from "./json.ts";
import { JsonElements } from "./json-elements.ts";

const options = {
  field: "items",
  elementsAtMost: 1_000,
  bytesPerElement: 10_000,
  tooMany: () => new Problem("PAYLOAD_TOO_LARGE", "too many"),
};

/** Reads a text in pieces of `pieceLength`: returns the object without its elements, and the elements. */
function read(text: string | Buffer, pieceLength = 7): { rest: unknown; elements: unknown[] } {
  const bytes = Buffer.from(text as string);
  const elements = new JsonElements(options);
  for (let at = 0; at < bytes.length; at += pieceLength) elements.add(bytes.subarray(at, at + pieceLength));
  const rest = elements.end();
  return { rest, elements: Array.from({ length: elements.count }, (_, index) => elements.value(index)) };
}

function rejection(text: string | Buffer): { code: string; message: string; field: { path: string; code: string } | undefined } {
  try {
    read(text);
  } catch (error) {
    if (error instanceof Problem) {
      const [field] = (error.details?.fields ?? []) as { path: string; code: string }[];
      return { code: error.code, message: error.message, field: field && { path: field.path, code: field.code } };
    }
    throw error;
  }
  throw new Error(`taken: ${text}`);
}

test("a JSON object and its elements equal those of JSON.parse, however the text is written and split", () => {
  const blank = fc.constantFrom("", " ", "\n\t ", "\r\n");
  const objectOf = (value: unknown, space: string) => JSON.stringify(value).replace(/(?<=[[{,:])(?=["\d[{tfn-])/g, space);
  const key = fc.string({ unit: "grapheme" }).filter((name) => name !== "items" && name !== "__proto__");
  const withoutProto = (value: unknown): boolean => !JSON.stringify(value).includes("__proto__");
  const json = fc.jsonValue({ maxDepth: 3, stringUnit: "grapheme" }).filter(withoutProto);
  const before = fc.dictionary(key, json, { maxKeys: 3 });
  fc.assert(
    fc.property(
      before,
      fc.array(json, { maxLength: 6 }),
      before,
      blank,
      fc.integer({ min: 1, max: 40 }),
      (first, items, last, space, length) => {
        const value = { ...first, items, ...last };
        const text = objectOf(value, "") === JSON.stringify(value) ? JSON.stringify(value, null, space.length) : "";
        const { rest, elements } = read(text, length);
        const whole = parseJson(text) as { items: unknown[] };
        expect(elements).toEqual(whole.items);
        expect(rest).toEqual({ ...whole, items: [] });
      },
    ),
  );
});

describe("elements", () => {
  test.each([
    ['{"items":[]}', []],
    [' { "items" : [ ] , "mode" : "x" } ', []],
    ['\uFEFF{"items":[1, "a,]}\\"" ,[2,[3]],{"items":[4]}]}', [1, 'a,]}"', [2, [3]], { items: [4] }]],
    ['{"a":{"items":[1]},"items":[2]}', [2]],
    ['{"a":[{"items":[1]}],"items":[2]}', [2]],
    ['{"it\\u0065ms":[1,2]}', [1, 2]],
    ['{"mode":"items","items":[1]}', [1]],
    ['{"x":"\\\\","items":["\\\\",1]}', ["\\", 1]],
    ['{"items":["某某","😀"]}', ["某某", "😀"]],
  ])("the elements of an object's array are found: case %#", (text, expected) => {
    for (const length of [1, 2, 3, 1_000]) expect(read(text, length).elements).toEqual(expected);
  });

  test.each([
    "",
    "[]",
    "7",
    "nonsense",
    '{"items":[1',
    '{"items":[1,]}',
    '{"items":[,1]}',
    '{"items":[1 2]}',
    '{"items":[1}',
    '{"items":[1]]}',
    '{"items":[1]}}',
    '{"items":[1]}x',
    '{"items":[1]} {}',
    '{"items"[1]}',
    '{"items":[{]}',
    '{"items":[tru]}',
    '{"items":["a]}',
    '{"items":[1],}',
    '{"items":tr ue}',
    "{items:[1]}",
  ])("a malformed object is rejected: case %#", (text) => {
    expect(rejection(text)).toMatchObject({ code: "BAD_REQUEST" });
  });

  test.each([
    ['{"items":[{"a":1,"a":2}]}', "items.0.a", "REPEATED"],
    ['{"items":[1,{"b":{"__proto__":1}}]}', "items.1.b.__proto__", "UNKNOWN_FIELD"],
    ['{"items":["\\u0000"]}', "items.0", "INVALID_FORMAT"],
    ['{"items":[{"a":"\\ud800"}]}', "items.0.a", "INVALID_FORMAT"],
    ['{"items":[[1e999]]}', "items.0.0", "INVALID_FORMAT"],
    ['{"items":[1],"items":[2]}', "items", "REPEATED"],
    ['{"items":[1],"items":2}', "items", "REPEATED"],
    ['{"items":[1],"\\u0069tems":[2]}', "items", "REPEATED"],
    ['{"__proto__":1,"items":[]}', "__proto__", "UNKNOWN_FIELD"],
    [`{"items":[1,${"[".repeat(31)}]}`, "", "TOO_DEEP"],
    [`{"a":${"[".repeat(32)}`, "", "TOO_DEEP"],
    [`{"items":[1,{${'"a":1,'.repeat(1_001)}`, "items.1", "TOO_LONG"],
    [`{"items":["${"x".repeat(10_000)}"]}`, "items.0", "TOO_LONG"],
    [`{"items":["${"x".repeat(20_000)}`, "items.0", "TOO_LONG"],
    [`{"a":"${"x".repeat(70_000)}"}`, "", "TOO_LONG"],
    ["[1]", "", "INVALID_FORMAT"],
  ])("that are no good are refused with their place: case %#", (text, path, code) => {
    expect(rejection(text).field).toEqual({ path, code });
  });

  test("elements are counted as they arrive, and reading stops at the first one too many", () => {
    const elements = new JsonElements(options);
    elements.add(Buffer.from('{"items":['));
    expect(() => {
      for (;;) elements.add(Buffer.from("1,"));
    }).toThrow("too many");
    expect(elements.count).toBe(1_000);
  });

  test("elements in another encoding are rejected", () => {
    expect(rejection(Buffer.from('{"items":["M\xFCller"]}', "latin1")).message).toBe("The body is not UTF-8");
  });

  test("with white space between them are not counted as what stands beside them", () => {
    expect(
      read(`{${" ".repeat(100_000)}"items":[1${" ".repeat(9_000)},${" ".repeat(100_000)}2]${"\n".repeat(100_000)}}`, 5_000).elements,
    ).toEqual([1, 2]);
  });
});
