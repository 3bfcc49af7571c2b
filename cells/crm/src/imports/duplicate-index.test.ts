import { expect, test } from "vitest";
import { DuplicateIndex } from "./duplicate-index.ts";

test("tells the row that had a key first, however many keys there are", () => {
  const rows = new DuplicateIndex();
  const howMany = 20_000;
  for (let row = 1; row <= howMany; row++) expect(rows.add(`key ${row}`, row)).toBeUndefined();
  for (let row = 1; row <= howMany; row++) expect(rows.add(`key ${row}`, howMany + row)).toBe(row);
});
