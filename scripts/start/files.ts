import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** Writes JSON, readable only by the owner, atomically: a reader sees the old file or the whole new one. */
export function writePrivately(path: string, content: unknown): void {
  const partial = `${path}.new`;
  writeFileSync(partial, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(partial, path);
}

/** The file's JSON; undefined if there is no such file. Throws a sentence for other content. */
export function readJson<Content>(path: string): Content | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as Content;
  } catch (error) {
    throw new Error(`${path} is not valid JSON: restore it, or remove it.`, { cause: error });
  }
}
