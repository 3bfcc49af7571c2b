import { expect, test } from "vitest";
import { checkOwner, merged, newCustomer } from "./domain.ts";

const now = "2026-03-01T00:00:00.000Z";
const made = (name: string, fields: object = {}) =>
  newCustomer({ name, ...fields }, { userId: "user-001", ownOnly: false }, { customerId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10", now });

test("who works on its own records can neither take nor give them", () => {
  const own = { userId: "user-002", ownOnly: true };
  expect(() => newCustomer({ name: "A", ownerId: "user-001" }, own, { customerId: "x", now })).toThrow("only assign records to yourself");
  expect(() => checkOwner("user-003", own)).toThrow("only assign records to yourself");
});

test("a merge keeps the survivor's values and loses no tag", () => {
  const survivor = made("A", { level: "1", tags: ["x"], customFields: { k: "mine" } });
  const result = merged(survivor, [made("B", { level: "2", notes: "n", tags: ["y", "x"], customFields: { k: "theirs", l: 1 } })], now);
  expect(result).toMatchObject({ name: "A", level: "1", notes: "n", tags: ["x", "y"], customFields: { k: "mine", l: 1 }, version: 2 });
});
