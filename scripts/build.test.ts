import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { build, fileOf, type Program, programs } from "./build.ts";

const repository = join(import.meta.dirname, "..");

test("programs are built once, and again when one of their modules has changed", async () => {
  const root = mkdtempSync(join(tmpdir(), "cell-crm-build-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const part of ["gateway", "cells", "shared", "package.json", "package-lock.json"])
    cpSync(join(repository, part), join(root, part), { recursive: true });
  symlinkSync(join(repository, "node_modules"), join(root, "node_modules"));
  const madeAt = () => Object.keys(programs).map((program) => statSync(join(root, fileOf(program as Program))).mtimeMs);

  await build(root);
  const files = readdirSync(join(root, "dist")).filter((name) => name.endsWith(".js"));
  const text = files.map((name) => readFileSync(join(root, "dist", name), "utf8")).join("\n");
  expect(text).not.toMatch(/[^\0-\x7f]/);
  expect(text).toContain('"\\u516c\\u53f8"');
  expect(text).not.toMatch(/^import .* from "(?:node:)?(?:http|fs|util|crypto)"/m);
  const first = madeAt();
  await build(root);
  expect(madeAt()).toEqual(first);

  appendFileSync(join(root, programs.gateway), '\nlog.info("changed");\n');
  await build(root);
  expect(readFileSync(join(root, fileOf("gateway")), "utf8")).toContain('log.info("changed")');
  expect(madeAt()).not.toEqual(first);
});
