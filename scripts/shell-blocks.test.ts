import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Block, readPages, root } from "./testing/pages.ts";
import { type Demo, StartedCopy } from "./testing/started-copy.ts";

/**
 * Each shell block of the documentation runs: ```sh in the shell of docs/start.md against `npm start`, ```sh start is `npm start` itself,
 * and the lines of ```sh ci are lines of .ci/run. A block of JSON right after a shell block shows what the shell block prints last.
 */
const pages = readPages();
const shellPage = "docs/start.md";
/** Defines what the examples use; it is the first block of that page that runs in a shell. */
const preparation = pages.find(({ path }) => path === shellPage)?.blocks.find(isShell)?.text ?? "";

function isShell({ language, runner }: Block): boolean {
  return language === "sh" && runner === undefined;
}

test("every shell block says who runs it, and no other language stands for one", () => {
  const blocks = pages.flatMap(({ blocks: all }) => all);
  const shells = blocks.filter(({ language }) => /^(ba|z)?sh$|^(shell|console|bash)$/.test(language));
  expect(shells.filter(({ language, runner }) => language !== "sh" || ![undefined, "ci", "start"].includes(runner))).toEqual([]);
});

test("what CI is said to run is in .ci/run", () => {
  const run = readFileSync(join(root, ".ci/run"), "utf8").split("\n");
  const lines = pages.flatMap(({ blocks }) => blocks.filter(({ runner }) => runner === "ci").flatMap(({ text }) => text.split("\n")));
  const commands = lines.map((line) => line.replace(/\s+#.*$/, "").trim());
  expect(commands.length).toBeGreaterThan(5);
  expect(commands.filter((command) => !run.includes(command))).toEqual([]);
});

test("what is said to start the product is npm start", () => {
  const starts = pages.flatMap(({ blocks }) => blocks.filter(({ runner }) => runner === "start").map(({ text }) => text));
  expect(new Set(starts)).toEqual(new Set(["npm start"]));
});

describe("the shell blocks of", () => {
  let copy: StartedCopy;
  let demo: Demo;
  beforeAll(async () => {
    copy = new StartedCopy(22_200);
    demo = await copy.start();
  }, 180_000);
  afterAll(() => copy.remove(), 60_000);

  const runnable = pages.filter(({ blocks }) => blocks.some(isShell));

  test.each(runnable.map(({ path, blocks }) => ({ path, blocks })))("$path", { timeout: 120_000 }, ({ path, blocks }) => {
    const shells = blocks.filter(isShell);
    const outputs = run(shells, path === "README.md" || path === shellPage ? "" : preparation);
    for (const [index, block] of blocks.entries()) {
      const shell = blocks[index - 1];
      if (block.language !== "json" || !shell || !isShell(shell) || block.line > shell.endLine + 2) continue;
      const printed = lastJson(outputs[shells.indexOf(shell)] ?? "");
      expect(differences(JSON.parse(block.text), printed), `${block.page}:${block.line}`).toEqual([]);
    }
  });

  /** Runs the blocks of a page in one shell, as someone pastes them. Resolves to what each prints; throws naming the block that fails. */
  function run(shells: readonly Block[], before: string): string[] {
    const separator = "-----8<-----";
    const parts = shells.map(({ page, line, text }) => `block=${page}:${line}\n${text}\necho '${separator}'`);
    const script = ["set -Eeuo pipefail", `trap 'echo "$block fails" >&2' ERR`, "block=preparation", before, ...parts].join("\n");
    const served = script.replaceAll("http://127.0.0.1:8080", demo.gateway);
    const output = execFileSync("bash", ["-c", served], { cwd: copy.folder, encoding: "utf8", maxBuffer: 2 ** 26 });
    return output.split(`${separator}\n`);
  }
});

/** The last line of JSON, or all of it where it has several lines. */
function lastJson(output: string): unknown {
  const text = output.trim();
  return JSON.parse(/^[[{]/.test(text) && !text.includes("}\n{") ? text : (text.split("\n").at(-1) ?? ""));
}

/** A value that differs from one call to the next: an id, a time. */
const changing = /^[0-9a-f]{8}-[0-9a-f-]{27}$|^\d{4}-\d\d-\d\dT/;

/** What the documentation shows and the response does not have; the documentation may leave fields and elements out. `…` stands for any text. */
function differences(shown: unknown, found: unknown, path = "$"): string[] {
  if (Array.isArray(shown)) {
    if (!Array.isArray(found)) return [`${path} is no array`];
    return shown.flatMap((value, index) => differences(value, found[index], `${path}[${index}]`));
  }
  if (typeof shown === "object" && shown !== null) {
    if (typeof found !== "object" || found === null) return [`${path} is no object`];
    return Object.entries(shown).flatMap(([name, value]) =>
      differences(value, (found as Record<string, unknown>)[name], `${path}.${name}`),
    );
  }
  if (typeof shown !== "string") return shown === found ? [] : [`${path} is ${JSON.stringify(found)}`];
  if (typeof found !== "string") return [`${path} is ${JSON.stringify(found)}`];
  const pattern = shown.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const isLike = changing.test(shown) ? changing.test(found) : new RegExp(`^${pattern.join(".*")}$`, "s").test(found);
  return isLike ? [] : [`${path} is ${JSON.stringify(found)}`];
}
