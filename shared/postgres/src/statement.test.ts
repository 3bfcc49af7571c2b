import { expect, test } from "vitest";
import { nextVersion, type Parameters, StatementCache, statement, tenantTables, valuesOf } from "./statement.ts";

const tables = tenantTables<{ things: { name: string } }>();
const select = () => tables.selectFrom("things").select("name");

test("recently used shapes stay compiled, and callers' invented ones are cached neither here nor in a connection", () => {
  const cache = new StatementCache<object, unknown>(2);
  const [first, second] = [cache.get("first", select), cache.get("second", select)];
  expect(cache.get("first", select)).toBe(first);
  cache.get("third", select);
  expect(cache.get("first", select)).toBe(first);
  expect(cache.get("second", select)).not.toBe(second);
  expect(first.compiled.keep).toBe(true);
  for (let made = 0; made < 10; made++) expect(cache.get(`made up ${made}`, select, false).compiled.keep).toBe(false);
  expect(cache.get("first", select)).toBe(first);
});

test("without room every statement is compiled for its one use", () => {
  const cache = new StatementCache<object, unknown>(0);
  const made = cache.get("any", select);
  expect([made.compiled.keep, cache.get("any", select) === made]).toEqual([false, false]);
});

test("an update names columns of its table by values of their types: anything else does not compile", () => {
  const tables = tenantTables<{ things: { name: string; note: string | null; version: number } }>();
  const update = (set: (p: Parameters<{ name: string; size: number }>) => ReturnType<typeof tables.updateTable<"things">>) =>
    statement(set).compiled.text;
  const sent = update((p) => tables.updateTable("things").set({ ...valuesOf(p, ["name"]), note: null, version: nextVersion }));
  expect(sent).toBe('update "$tenant"."things" set "name" = $1, "note" = $2, "version" = version + 1');
  // @ts-expect-error There is no column `nmae`.
  update((p) => tables.updateTable("things").set({ nmae: p.name }));
  // @ts-expect-error There is no parameter `nmae`.
  update((p) => tables.updateTable("things").set(valuesOf(p, ["nmae"])));
  // @ts-expect-error A number is no name.
  update((p) => tables.updateTable("things").set({ name: p.size }));
});
