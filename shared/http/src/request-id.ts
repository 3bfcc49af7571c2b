import { randomUUID } from "node:crypto";
import { badField } from "@cell/problem";

/** What a caller's `X-Request-ID` or `Idempotency-Key` may look like (`promises.md`, section 1). */
export const requestIdPattern = /^[A-Za-z0-9._:~-]{1,128}$/;

/** An id for a request whose caller sent none. It correlates; it is never an idempotency key. */
export function newRequestId(): string {
  return `req-${randomUUID()}`;
}

/**
 * The caller's id in the header `name`, or undefined when there is none.
 * Throws BAD_REQUEST for a malformed or repeated one: replacing it would silently cost the caller its idempotency.
 * Node joins repeated lines by ", ", which the pattern refuses.
 */
export function readRequestId(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (!requestIdPattern.test(value)) {
    throw badField(name, "INVALID_FORMAT", "send it once, 1 to 128 characters of A-Z a-z 0-9 . _ : ~ -");
  }
  return value;
}
