import { expect, test } from "vitest";
import { DuplicateIndex } from "./duplicate-index.ts";

test("the duplicate index returns the first row with a key, for any number of keys", () => {
  const rows = new DuplicateIndex();
  const howMany = 20_000;
  for (let row = 1; row <= howMany; row++) expect(rows.add(`key ${row}`, row)).toBeUndefined();
  for (let row = 1; row <= howMany; row++) expect(rows.add(`key ${row}`, howMany + row)).toBe(row);
});
