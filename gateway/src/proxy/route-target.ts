import { Problem } from "@cell/problem";
import type { PathPrefix } from "../config.ts";

const apiPrefix = "/api/v1/";

/** The target of a request to a cell. */
export interface Target {
  cell: string;
  /** The prefix as a pattern, for the metrics. */
  pattern: string;
  /** The cell's own path, percent-encoded as the caller sent it. */
  path: string;
  /** The same path decoded, which identifies its route. */
  decodedPath: string;
  /** With its `?`, unchanged byte for byte; empty if there is none. */
  query: string;
}

interface Entry {
  cell: string;
  pattern: string;
  cut: boolean;
}

/** Length of the longest of them: most requests need no pattern. */
const documentLength = "/openapi.json/".length;
const documents = /^\/(?:docs|openapi\.json)\/?$/;

/** The cells by path prefix: whole segments, longest match wins. */
export class PrefixTable {
  readonly #entries = new Map<string, Entry>();
  /** Whether there is a prefix with this number of segments. */
  readonly #depths: readonly boolean[];

  /** Each cell has `/api/v1/<cell>`, which is removed; further prefixes stay, so that the cell receives the whole path. */
  constructor(cells: readonly string[], prefixes: readonly PathPrefix[] = []) {
    for (const cell of cells) this.#entries.set(apiPrefix + cell, { cell, pattern: `${apiPrefix}${cell}/*`, cut: true });
    for (const { cell, path } of prefixes) this.#entries.set(path, { cell, pattern: `${path}/*`, cut: false });
    const depths: boolean[] = [];
    for (const path of this.#entries.keys()) depths[path.split("/").length - 1] = true;
    this.#depths = depths;
  }

  /**
   * The cell and its path; undefined for the gateway's own paths and for a cell's documents, which the gateway serves itself. A path below
   * `/api/v1` that belongs to no cell names one that does not exist. The target has passed `checkHead`. Throws NOT_FOUND for a cell's
   * internal paths.
   */
  find(url: string): Target | undefined {
    const mark = url.indexOf("?");
    const pathEnd = mark < 0 ? url.length : mark;
    let entry: Entry | undefined;
    let prefixEnd = 0;
    let end = 0;
    for (let depth = 1; depth < this.#depths.length && end < pathEnd; depth++) {
      const slash = url.indexOf("/", end + 1);
      end = slash < 0 || slash > pathEnd ? pathEnd : slash;
      if (!this.#depths[depth]) continue;
      const found = this.#entries.get(url.slice(0, end));
      if (!found) continue;
      entry = found;
      prefixEnd = end;
    }
    if (entry === undefined) return unknownCell(url, pathEnd);
    const { cell, pattern, cut } = entry;
    const path = cut ? url.slice(prefixEnd, pathEnd) || "/" : url.slice(0, pathEnd);
    const decodedPath = path.includes("%") ? decodeURIComponent(path) : path;
    if (/^\/internal(?:\/|$)/i.test(decodedPath)) throw new Problem("NOT_FOUND", "Nothing is at this path");
    if (cut && path.length <= documentLength && documents.test(path)) return undefined;
    return { cell, pattern, path, decodedPath, query: url.slice(pathEnd) };
  }
}

function unknownCell(url: string, pathEnd: number): Target | undefined {
  if (!url.startsWith(apiPrefix)) return undefined;
  const cell = /^[^/?]*/.exec(url.slice(apiPrefix.length))?.[0] ?? "";
  const path = url.slice(apiPrefix.length + cell.length, pathEnd) || "/";
  if (documents.test(path)) return undefined;
  return { cell, pattern: `${apiPrefix}*`, path, decodedPath: path, query: url.slice(pathEnd) };
}
