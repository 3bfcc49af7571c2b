import { Problem } from "@cell/problem";

const apiPrefix = "/api/v1/";
const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,;=:@-]+)+\/?$/;

/** Where a request to a cell goes. */
export interface Target {
  cell: string;
  /** The cell's own path, percent-encoding as the caller sent it. */
  path: string;
  /** With its `?`, byte for byte as the caller sent it; empty when there is none. */
  query: string;
}

/**
 * Throws BAD_REQUEST for a request target that could mean one thing here and another thing in a cell: dot segments, empty segments,
 * hidden slashes, backslashes, NUL and bad percent-encoding.
 */
export function checkTarget(url: string): void {
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  if (path !== "/" && !plainPath.test(path)) checkUnusualPath(path);
  if (mark >= 0 && /[^\x21-\x7e]|#/.test(url.slice(mark))) throw badTarget();
}

function checkUnusualPath(path: string): void {
  if (!path.startsWith("/") || /[^\x21-\x7e]|[#\\]|%2f|%5c|%00/i.test(path)) throw badTarget();
  const decoded = decodePath(path);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/\/\/|\/\.{1,2}(?:\/|$)|[\x00-\x1f\x7f]/.test(decoded)) throw badTarget();
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    if (error instanceof URIError) throw badTarget();
    throw error;
  }
}

function badTarget(): Problem {
  return new Problem(
    "BAD_REQUEST",
    "The path or the query is not valid: no dot or empty segments, encoded slashes, backslashes or control characters",
  );
}

/**
 * The cell and its path for `/api/v1/<cell>/…`, undefined for any other path. The target has passed `checkTarget`.
 * Throws NOT_FOUND for what a cell keeps to itself.
 */
export function readTarget(url: string): Target | undefined {
  if (!url.startsWith(apiPrefix)) return undefined;
  const mark = url.indexOf("?");
  const pathEnd = mark < 0 ? url.length : mark;
  const slash = url.indexOf("/", apiPrefix.length);
  const cellEnd = slash < 0 || slash > pathEnd ? pathEnd : slash;
  const path = url.slice(cellEnd, pathEnd) || "/";
  if (/^\/internal(?:\/|$)/i.test(path.includes("%") ? decodePath(path) : path))
    throw new Problem("NOT_FOUND", "There is nothing at this path");
  return { cell: url.slice(apiPrefix.length, cellEnd), path, query: url.slice(pathEnd) };
}
