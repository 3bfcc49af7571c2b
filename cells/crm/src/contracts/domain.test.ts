import { expect, test } from "vitest";
import { checkChange, moves, newContract } from "./domain.ts";
import { contractStatuses } from "./schema.ts";

const identity = { contractId: "c", number: "C-2026-000001", currency: "CNY", timezone: "UTC", now: "2026-03-01T12:00:00.000Z" };
const contract = newContract({ customerId: "k", name: "Framework", amount: "100" }, identity);

test.each(contractStatuses.flatMap((from) => contractStatuses.map((to) => [from, to] as const)))(
  "from %s to %s as the table of moves says",
  (from, to) => {
    const check = () => checkChange({ ...contract, status: from }, { ...contract, status: to });
    if (from === to || moves[from].includes(to)) expect(check).not.toThrow();
    else
      expect(check).toThrow(expect.objectContaining({ code: "CONFLICT", details: { field: "status", status: from, legal: moves[from] } }));
  },
);

test("the contract status void is final, and every other status can lead to it", () => {
  const reach = (from: (typeof contractStatuses)[number], seen = new Set([from])): Set<string> => {
    for (const to of moves[from]) if (!seen.has(to)) reach(to, seen.add(to));
    return seen;
  };
  expect(moves.void).toEqual([]);
  for (const status of contractStatuses) expect(reach(status).has("void")).toBe(true);
});

test("a contract may end on the day of its start, not before", () => {
  const dated = (endDate: string) => () =>
    newContract({ customerId: "k", name: "Framework", amount: "1", startDate: "2026-02-01", endDate }, identity);
  expect(dated("2026-02-01")).not.toThrow();
  expect(dated("2026-01-31")).toThrow("endDate: must not be before startDate");
});
