import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

/** The programs that run as processes of their own, and what each begins with. */
export const programs = {
  gateway: "gateway/src/main.ts",
  "gateway-migrate": "gateway/src/migrate.ts",
  crm: "cells/crm/src/main.ts",
  "crm-migrate": "cells/crm/src/migrate.ts",
} as const;

export type Program = keyof typeof programs;

const repository = join(import.meta.dirname, "..");

/** The file that runs a program, relative to the root of the repository; `build` makes it. */
export function fileOf(program: Program): string {
  return `dist/${program}.js`;
}

/**
 * Joins the modules of each program into a few files: Node finds and links a thousand of them in more time than everything else takes at a
 * program's start. Does nothing where they are as they were. Rejects with what rolldown finds wrong. `root`: of the repository.
 */
export async function build(root = repository): Promise<void> {
  if (isCurrent(root)) return;
  const { rolldown } = await import("rolldown");
  const folder = join(root, "dist");
  const made = `${folder}-${process.pid}`;
  // pg asks for its native twin, which is not installed.
  const bundle = await rolldown({ cwd: root, input: { ...programs }, platform: "node", external: ["pg-native"] });
  try {
    const { output } = await bundle.write({ dir: made, format: "esm", entryFileNames: "[name].js" });
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

/** For vitest: tests that start whole systems find the programs made. */
export async function setup(): Promise<void> {
  await build();
}

if (import.meta.main) await build();
