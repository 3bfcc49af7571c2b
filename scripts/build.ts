import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join, relative } from "node:path";
import type { Plugin } from "rolldown";

/** The programs that run as separate processes, and their entry modules. */
export const programs = {
  gateway: "gateway/src/main.ts",
  "gateway-migrate": "gateway/src/migrate.ts",
  crm: "cells/crm/src/main.ts",
  "crm-migrate": "cells/crm/src/migrate.ts",
} as const;

export type Program = keyof typeof programs;

const repository = join(import.meta.dirname, "..");

/** The bundle of a program, relative to the repository's root; created by `build`. */
export function fileOf(program: Program): string {
  return `dist/${program}.js`;
}

/**
 * Bundles each program into a few files: loading a thousand modules would dominate a program's start. Does nothing if they are current.
 * Rejects with rolldown's errors. `root`: the repository; `log`: called when there is something to do.
 */
export async function build(root = repository, log?: (line: string) => void): Promise<void> {
  if (isCurrent(root)) return;
  log?.("Building the programs.");
  const { rolldown } = await import("rolldown");
  const folder = join(root, "dist");
  const made = `${folder}-${process.pid}`;
  // pg tries to load its native variant, which is not installed.
  const bundle = await rolldown({
    cwd: root,
    input: { ...programs },
    platform: "node",
    external: ["pg-native"],
    // The image is built without the repository's tsconfig.json, which those of the packages extend.
    tsconfig: false,
    plugins: [builtins, ascii],
  });
  try {
    const comments = { legal: true, annotation: false, jsdoc: false };
    const { output } = await bundle.write({ dir: made, format: "esm", entryFileNames: "[name].js", comments });
    const modules = output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
    const inputs = [...modules.filter((module) => existsSync(module)), import.meta.filename, join(root, "package-lock.json")];
    const stamps = inputs.map((path) => [relative(root, path), stampOf(path)]);
    writeFileSync(join(made, "inputs.json"), JSON.stringify(Object.fromEntries(stamps)));
    rmSync(folder, { recursive: true, force: true });
    renameSync(made, folder);
  } finally {
    await bundle.close();
    rmSync(made, { recursive: true, force: true });
  }
}

/**
 * Imports Node's own modules like `require` does. An import makes Node evaluate all exports, including lazily loaded ones: for node:http a
 * whole HTTP client, which costs a minimal program 20 ms and 13 MB.
 */
const builtins: Plugin = {
  name: "builtins",
  resolveId: (id, _importer, { kind }) => (kind !== "require-call" && isBuiltin(id) ? `${marker}${id}` : null),
  load(id) {
    if (!id.startsWith(marker)) return null;
    const name = id.slice(marker.length);
    const properties = Object.keys(process.getBuiltinModule(name) as object).filter((property) => property !== "default");
    // Marked pure, so that unused ones are removed.
    const exported = properties.map((property) => `export const ${property} = /* @__PURE__ */ (() => builtin.${property})();`);
    const code = [`const builtin = process.getBuiltinModule("${name}"); export default builtin;`, ...exported].join("\n");
    return { code, moduleSideEffects: false };
  },
};

const marker = "\0builtin:";

/** V8 keeps a file's text, and with a single Chinese character it takes two bytes per character. */
const ascii: Plugin = {
  name: "ascii",
  generateBundle(_options, bundle) {
    for (const file of Object.values(bundle))
      if (file.type === "chunk")
        file.code = file.code.replace(/[^\0-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  },
};

/** Whether no module has changed since the last build. */
function isCurrent(root: string): boolean {
  const record = join(root, "dist", "inputs.json");
  if (!existsSync(record)) return false;
  const inputs = JSON.parse(readFileSync(record, "utf8")) as Record<string, string>;
  return Object.entries(inputs).every(([path, stamp]) => stamp === stampOf(join(root, path)));
}

function stampOf(path: string): string {
  const { mtimeMs, size } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0, size: -1 };
  return `${mtimeMs} ${size}`;
}

/** For vitest: tests that start whole systems need the bundles. */
export async function setup(): Promise<void> {
  await build();
}

if (import.meta.main) await build();
