import { expect, test } from "vitest";
import { breachesIn } from "./check-language.ts";

const found = (file: string, text: string) => breachesIn(file, text).map(({ line, what }) => `${line} ${what.split(":")[0]}`);

test("the language check reports a declared name of the old vocabulary, wherever it is declared", () => {
  const source = `const lane = 1;
function giveBack(told: number) {}
interface Exposure { kept: string }
const { verdict } = judge();`;
  expect(found("gateway/src/new.ts", source)).toEqual([
    "1 the name lane",
    "2 the name giveBack",
    "2 the name told",
    "3 the name Exposure",
    "3 the name kept",
    "4 the name verdict",
  ]);
});

test("the language check reports a phrase of a comment or a document with its line", () => {
  expect(found("shared/cell/src/new.ts", "/**\n * Whoever asks is told.\n */\nexport const a = 1; // all, but for one\n")).toEqual([
    '2 "is told"',
    '2 "Whoever"',
    '4 "but for"',
  ]);
  expect(found("docs/new.md", "# A page\n\nAs ever, the chassis waits.\n")).toEqual(['3 "As ever"', '3 "chassis"']);
});

test("the language check passes over public fields, uses of foreign names, texts and code in documents", () => {
  expect(found("cells/crm/src/imports/new.ts", "interface Revert { kept: string[] }")).toEqual([]);
  expect(found("gateway/src/new.ts", 'state.openDoors = head.lane; log("whoever");')).toEqual([]);
  expect(found("docs/new.md", "`lane` and `whoever`\n\n```sh\nwhoever\n```\n")).toEqual([]);
});
