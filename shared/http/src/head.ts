import type { IncomingMessage } from "node:http";
import { badField, Problem } from "@cell/problem";
import { methodNotAllowed } from "./render.ts";

/** Limits of a request's head; a larger one is rejected. */
export const headLimits = {
  /** All header lines together; Node's parser counts the request line too. */
  bytes: 16 * 1024,
  lines: 100,
  /** The path and the query. */
  targetLength: 8 * 1024,
} as const;

// Node keeps only the first line of some headers and joins others, which hides that the caller sent two.
const singleHeaders = new Map(
  [
    "host",
    "authorization",
    "x-tenant-id",
    "x-user-id",
    "x-request-id",
    "x-cell-assertion",
    "idempotency-key",
    "x-idempotency-mode",
    "if-match",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
  ].map((name, index) => [name, 1 << index]),
);
const hostBit = singleHeaders.get("host") ?? 0;

/**
 * Rejects a head that two parsers could read differently. Throws BAD_REQUEST for a repeated header that may come once, a missing `Host`, a
 * target that `checkTarget` rejects, and more than `headLimits` allows. Throws METHOD_NOT_ALLOWED for TRACE, which would show a caller's
 * headers to scripts.
 */
export function checkHead({ rawHeaders, url = "", method }: IncomingMessage): void {
  let seen = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const bit = singleHeaders.get(name.toLowerCase());
    if (bit === undefined) continue;
    if (seen & bit) throw badField(name, "REPEATED", "send this header once");
    seen |= bit;
  }
  if (rawHeaders.length > 2 * headLimits.lines)
    throw new Problem("BAD_REQUEST", `There are more than ${headLimits.lines} header lines`, { status: 431 });
  if (!(seen & hostBit)) throw badField("Host", "REQUIRED", "send this header");
  if (method === "TRACE") throw methodNotAllowed(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
  checkTarget(url);
}

const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,;=:@-]+)+\/?$/;

/**
 * Throws BAD_REQUEST for a request target that two processes could read differently: dot segments, empty segments, encoded slashes,
 * backslashes, NUL and invalid percent-encoding; also for one that is too long.
 */
export function checkTarget(url: string): void {
  if (url.length > headLimits.targetLength)
    throw new Problem("BAD_REQUEST", `The path and the query have more than ${headLimits.targetLength} characters`);
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  if (path !== "/" && !plainPath.test(path)) checkUnusualPath(path);
  if (mark >= 0) checkQuery(url.slice(mark));
}

function checkUnusualPath(path: string): void {
  if (!path.startsWith("/") || /[^\x21-\x7e]|[#\\]|%2f|%5c|%00/i.test(path)) throw badTarget();
  const decoded = decode(path);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern looks for them
  if (/\/\/|\/\.{1,2}(?:\/|$)|[\x00-\x1f\x7f]/.test(decoded)) throw badTarget();
}

function checkQuery(query: string): void {
  if (/[^\x21-\x7e]|#/.test(query)) throw badTarget();
  if (query.includes("%")) decode(query);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) throw badTarget();
    throw error;
  }
}

function badTarget(): Problem {
  return new Problem(
    "BAD_REQUEST",
    "The path or the query is not valid: no dot or empty segments, encoded slashes, backslashes, control characters or half an encoding",
  );
}
