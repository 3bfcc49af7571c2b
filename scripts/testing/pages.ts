import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** A fenced block of a page. */
export interface Block {
  page: string;
  line: number;
  endLine: number;
  /** The first word after the fence: `sh`, `json`, … */
  language: string;
  /** The second word: for `sh`, the runner of the block, see `shell-blocks.test.ts`. */
  runner: string | undefined;
  text: string;
}

/** A page of the documentation. */
export interface Page {
  /** Relative to the root of the repository. */
  path: string;
  text: string;
  /** The text without its blocks. */
  prose: string;
  /** The anchors of its headings, as GitHub generates them. */
  anchors: ReadonlySet<string>;
  blocks: readonly Block[];
}

/** Every page ordered by path, README.md first. */
export function readPages(): Page[] {
  const found = globSync(["*.md", "docs/**/*.md"], { cwd: root }).sort();
  return ["README.md", ...found.filter((path) => path !== "README.md")].map(readPage);
}

function readPage(path: string): Page {
  const text = readFileSync(join(root, path), "utf8");
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: { fence: string; block: Block; lines: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const fence = /^(`{3,})(.*)$/.exec(line);
    if (open) {
      if (fence?.[1] === open.fence) {
        blocks.push({ ...open.block, endLine: index + 1, text: open.lines.join("\n") });
        open = undefined;
      } else open.lines.push(line);
    } else if (fence) {
      const [language = "", runner] = (fence[2] ?? "").trim().split(/\s+/);
      open = { fence: fence[1] ?? "", block: { page: path, line: index + 1, language, endLine: 0, runner, text: "" }, lines: [] };
    } else prose.push(line);
  }
  if (open) throw new Error(`${path}:${open.block.line} is an unclosed block`);
  const headings = prose.flatMap((line) => /^#{1,6} (.+)$/.exec(line)?.[1] ?? []);
  return { path, text, prose: prose.join("\n"), anchors: new Set(headings.map(anchorOf)), blocks };
}

/** The anchor of a heading: lower case, blanks as hyphens, no punctuation. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** The cells of the rows of a page's tables, without their headers. */
export function rowsOf({ prose }: Page): string[][] {
  return prose
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^\|[\s|:-]+\|$/.test(line))
    .map((line) =>
      line
        .slice(1, line.lastIndexOf("|"))
        .split("|")
        .map((cell) => cell.trim()),
    );
}
