import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const read = (file: string) => readFileSync(join(root, file), "utf8");

/** The variables that a file of settings reads: by their names alone, or as the first words of what reads them. */
function variables(source: string): string[] {
  return [...source.matchAll(/\benv\.([A-Z][A-Z0-9_]+)|\((?:env, )?"([A-Z][A-Z0-9_]{3,})"/g)].map(([, named, read]) => named ?? read ?? "");
}

test("every variable that a program reads stands in the README's tables, and no other", () => {
  const files = globSync("{gateway,cells/*,bench,shared/*}/{,src/,src/cli/,src/testing/}config.ts", { cwd: root });
  const known = new Set([...files, "scripts/start/settings.ts"].flatMap((file) => variables(read(file))));
  expect(known.size).toBeGreaterThan(40);
  const rows = readme.split("\n").filter((line) => line.startsWith("|"));
  const recorded = new Set(rows.flatMap((row) => [...row.matchAll(/`([A-Z][A-Z0-9_]{3,})`/g)].map(([, name = ""]) => name)));
  expect([...known].filter((name) => !recorded.has(name)).sort()).toEqual([]);
  expect([...recorded].filter((name) => !known.has(name)).sort()).toEqual([]);
});

test("every command of the README is there, and every file that it names", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = [...readme.matchAll(/npm run (?:-s )?([a-z]+(?::[a-z]+)*)/g)].map(([, name = ""]) => name);
  expect([...new Set(named)].filter((name) => !(name in scripts))).toEqual([]);
  const paths = [...readme.matchAll(/`((?:gateway|cells|shared|scripts|bench)\/[\w./{},-]+)`/g)].map(([, path = ""]) => path);
  expect(paths.length).toBeGreaterThan(10);
  expect(paths.filter((path) => globSync(path, { cwd: root }).length === 0)).toEqual([]);
});
