import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const roots: string[] = [];
afterAll(() => {
  for (const root of roots) rmSync(root, { recursive: true, force: true });
});

/** Makes a project that is installed, with or without a packaged Node for this platform. */
function projectWith(packages: { node: boolean }): string {
  const root = mkdtempSync(join(tmpdir(), "cell-crm-node-"));
  roots.push(root);
  const lock = JSON.stringify({ packages: {} });
  mkdirSync(join(root, "scripts"));
  mkdirSync(join(root, "node_modules"));
  copyFileSync(join(import.meta.dirname, "with-node.mjs"), join(root, "scripts/with-node.mjs"));
  writeFileSync(join(root, "scripts/which.mjs"), "console.log('own', process.execPath);");
  writeFileSync(join(root, "package-lock.json"), lock);
  writeFileSync(join(root, "node_modules/.lock-hash"), createHash("sha256").update(lock).digest("hex"));
  const bin = join(root, "node_modules", `node-${process.platform}-${process.arch}`, "bin");
  if (packages.node) {
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, "node"), "#!/bin/sh\necho packaged\n", { mode: 0o755 });
  }
  return root;
}

/** Runs a script by with-node.mjs, under a Node that says it is of that version. */
function runUnder(version: string, root: string): { status: number | null; stdout: string; stderr: string } {
  const disguise = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } });`;
  const preload = `--import=data:text/javascript,${encodeURIComponent(disguise)}`;
  const script = join(root, "scripts/which.mjs");
  return spawnSync(process.execPath, [preload, join(root, "scripts/with-node.mjs"), script], { encoding: "utf8" });
}

describe("with-node.mjs", () => {
  const complete = projectWith({ node: true });
  const without = projectWith({ node: false });

  it.each(["22.21.0", "22.23.5", "24.11.0", "26.0.0", "26.12.1", "27.0.0", "28.1.0"])("runs on the user's own Node %s", (version) => {
    expect(runUnder(version, complete)).toMatchObject({ status: 0, stdout: `own ${process.execPath}\n` });
  });

  it.each(["18.20.8", "20.20.2", "22.20.0", "23.11.1", "24.0.0", "25.9.0"])("runs on the packaged Node instead of %s", (version) => {
    expect(runUnder(version, complete)).toMatchObject({ status: 0, stdout: "packaged\n" });
  });

  it("with-node.mjs names the supported Nodes if none is usable", () => {
    const { status, stderr } = runUnder("24.0.0", without);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^Node 24\.0\.0 is not supported .*24 from 24\.11.*install a supported one from https:\/\/nodejs\.org\.\n$/);
  });
});
