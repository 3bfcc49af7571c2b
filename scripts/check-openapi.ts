import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Document } from "@cell/http/openapi/document";
import { documentFaults } from "@cell/http/testing/document-faults";
import { breakingChanges, isMajorStep } from "./breaking-changes.ts";

/**
 * Rejects a published document that lacks what its users need (see `documentFaults`), and a breaking change without a new major version.
 * The last released documents are in openapi/released; `--release` replaces them by the current ones.
 */
const release = process.argv.includes("--release");
let isBroken = false;
for (const name of ["crm", "gateway"]) {
  const present = new URL(`../openapi/${name}.json`, import.meta.url);
  const released = new URL(`../openapi/released/${name}.json`, import.meta.url);
  if (release || !existsSync(released)) {
    if (release) writeFileSync(released, readFileSync(present));
    else throw new Error(`openapi/released/${name}.json is missing`);
    continue;
  }
  const faults = documentFaults(JSON.parse(readFileSync(present, "utf8")) as Document);
  for (const fault of faults) console.error(`openapi/${name}.json: ${fault}`);
  if (faults.length > 0) isBroken = true;
  const [before, after] = [released, present].map((file) => JSON.parse(readFileSync(file, "utf8")) as Document) as [Document, Document];
  const changes = breakingChanges(before, after);
  if (changes.length === 0 || isMajorStep(before, after)) continue;
  isBroken = true;
  console.error(`openapi/${name}.json breaks clients of ${before.info.version}; raise the first number of its version or take it back:`);
  for (const change of changes) console.error(`  ${change}`);
}
process.exitCode = isBroken ? 1 : 0;
