import { expect, test } from "vitest";
import type { FieldAccess, SensitiveKind } from "../schema/masking.ts";
import { maskedEntry } from "./masked-entry.ts";

const of = { sensitive: { contactPhone: "phone", contactEmail: "email", amount: "amount" } as const };
const clearing = (...kinds: SensitiveKind[]): FieldAccess => ({ clear: new Set(kinds), revealed: new Set() });
const masked = (
  changes: { field: string; before?: unknown; after?: unknown }[],
  clear: SensitiveKind[],
  known: typeof of | undefined = of,
) => {
  const { changes: seen, _masked } = maskedEntry({ changes }, known, clearing(...clear));
  return [seen.map(({ before, after }) => [before, after]), _masked];
};

test("a sensitive change is masked before and after unless the caller may read its kind; null stays null", () => {
  const change = { field: "contactPhone", before: null, after: "13800138000" };
  expect(masked([change], [])).toEqual([[[null, "138****8000"]], ["contactPhone"]]);
  expect(masked([change], ["email", "amount"])).toEqual([[[null, "138****8000"]], ["contactPhone"]]);
  expect(masked([change], ["phone"])).toEqual([[[null, "13800138000"]], []]);
  expect(masked([{ field: "amount", before: "10.00", after: "" }], [])).toEqual([[["****", ""]], ["amount"]]);
  expect(masked([{ field: "contactEmail", before: null, after: null }], [])).toEqual([[[null, null]], []]);
});

test("an audit entry shows a revealed field, whatever its kind", () => {
  const changes = ["amount", "contactPhone"].map((field) => ({ field, before: "10.00", after: "13800138000" }));
  const { _masked } = maskedEntry({ changes }, of, { clear: new Set(), revealed: new Set(["amount"]) });
  expect(_masked).toEqual(["contactPhone"]);
});

test("an export's filter is masked if it compares a field that is masked for the caller", () => {
  const filter = { field: "filter", before: null, after: "status[eq]:lead and contactPhone[eq]:13800138000" };
  expect(masked([filter], ["amount"])).toEqual([[[null, "****"]], ["filter"]]);
  expect(masked([filter], ["phone"])).toEqual([[[null, filter.after]], []]);
  expect(masked([{ ...filter, after: "status[eq]:lead" }], [])).toEqual([[[null, "status[eq]:lead"]], []]);
});

test("an entry of an unknown resource is masked completely unless the caller may read everything", () => {
  const change = { field: "nickname", before: "a", after: 7 };
  expect(maskedEntry({ changes: [change] }, undefined, clearing("phone", "email")).changes).toEqual([
    { ...change, before: "****", after: "****" },
  ]);
  expect(maskedEntry({ changes: [change] }, undefined, clearing("phone", "email", "amount")).changes).toEqual([change]);
});
