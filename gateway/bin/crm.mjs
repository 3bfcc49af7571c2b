#!/usr/bin/env node
// Plain JavaScript, because it has to run on any Node: the launcher finds one that runs TypeScript.
import { fileURLToPath } from "node:url";

process.argv.splice(2, 0, fileURLToPath(new URL("../src/cli/main.ts", import.meta.url)));
await import("../../scripts/with-node.mjs");
