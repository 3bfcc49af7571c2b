import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..", "..");
/** The files that decide the form of the data. */
const sources = [
  "cells/crm/src/migrations/*.ts",
  "shared/cell/src/migrations.ts",
  "shared/postgres/src/registry.ts",
  "gateway/src/migrations/*.ts",
  "bench/harness/data.ts",
];

/** Deletes data that an earlier version of the program created in another form; they are created again. */
export function refreshStaleData(dataDir: string, log: (line: string) => void): void {
  const files = sources.flatMap((pattern) => globSync(pattern, { cwd: root })).sort();
  const digest = createHash("sha256");
  for (const file of files) digest.update(readFileSync(join(root, file)));
  const form = digest.digest("hex");
  const stamp = join(dataDir, "form");
  const known = existsSync(stamp) ? readFileSync(stamp, "utf8") : undefined;
  if (known === form) return;
  if (known !== undefined) log("The schema has changed since the data were made: they are made again.");
  for (const name of ["postgres", "postgres.password", "secrets.json", "seals.jsonl"])
    rmSync(join(dataDir, name), { recursive: true, force: true });
  writeFileSync(stamp, form);
}
