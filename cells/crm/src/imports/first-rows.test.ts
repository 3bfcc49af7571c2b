import { expect, test } from "vitest";
import { FirstRows } from "./first-rows.ts";

test("tells the row that had a key first, however many keys there are", () => {
  const rows = new FirstRows();
  const howMany = 20_000;
  for (let row = 1; row <= howMany; row++) expect(rows.note(`key ${row}`, row)).toBeUndefined();
  for (let row = 1; row <= howMany; row++) expect(rows.note(`key ${row}`, howMany + row)).toBe(row);
});
