import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configurationPage } from "./docs/configuration.ts";
import { programSettings } from "./program-settings.ts";

/**
 * Writes the files that follow from others: the page of settings, and the introductions of the OpenAPI documents from their pages. `--check`
 * compares them instead and fails where one differs.
 */
const root = join(import.meta.dirname, "..");

/** Files by their paths, with what they must hold. */
const generated: Readonly<Record<string, string>> = {
  "cells/crm/src/introduction.ts": introductionOf("docs/api/introduction.md"),
  "gateway/src/admin/introduction.ts": introductionOf("docs/api/administration.md"),
  "docs/operations/configuration.md": configurationPage(programSettings),
};

const isCheck = process.argv.includes("--check");
for (const [path, content] of Object.entries(generated)) {
  if (!isCheck) writeFileSync(join(root, path), content);
  else if (readFileSync(join(root, path), "utf8") !== content) {
    console.error(`${path} differs from what it follows from: run npm run docs`);
    process.exitCode = 1;
  }
}

/** A module with the text of a page up to its second heading, without its links, whose targets a document does not have. */
function introductionOf(page: string): string {
  const text = readFileSync(join(root, page), "utf8")
    .replace(/^# .*\n+/, "")
    .replace(/^## [\s\S]*/m, "")
    .trimEnd()
    .replaceAll(/\[([^\]]+)\]\([^)]+\)/g, "$1")
    .replaceAll(/[\\`]|\$(?=\{)/g, "\\$&");
  return `/** The introduction of the OpenAPI document. Generated from ${page} by \`npm run docs\`. */\nexport const introduction = \`${text}\`;\n`;
}
