import { Problem } from "@cell/problem";

const apiPrefix = "/api/v1/";

/** Where a request to a cell goes. */
export interface Target {
  cell: string;
  /** The cell's own path, percent-encoding as the caller sent it. */
  path: string;
  /** With its `?`, byte for byte as the caller sent it; empty when there is none. */
  query: string;
}

/** The length of the longest of them: most requests need no pattern. */
const documentLength = "/openapi.json/".length;
const documents = /^\/(?:docs|openapi\.json)\/?$/;

/**
 * The cell and its path for `/api/v1/<cell>/…`, undefined for any other path, and for the cell's documents, which the gateway shows itself. The target has passed `checkHead`.
 * Throws NOT_FOUND for what a cell keeps to itself.
 */
export function readTarget(url: string): Target | undefined {
  if (!url.startsWith(apiPrefix)) return undefined;
  const mark = url.indexOf("?");
  const pathEnd = mark < 0 ? url.length : mark;
  const slash = url.indexOf("/", apiPrefix.length);
  const cellEnd = slash < 0 || slash > pathEnd ? pathEnd : slash;
  const path = url.slice(cellEnd, pathEnd) || "/";
  if (/^\/internal(?:\/|$)/i.test(path.includes("%") ? decodeURIComponent(path) : path))
    throw new Problem("NOT_FOUND", "There is nothing at this path");
  if (path.length <= documentLength && documents.test(path)) return undefined;
  return { cell: url.slice(apiPrefix.length, cellEnd), path, query: url.slice(pathEnd) };
}
