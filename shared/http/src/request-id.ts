import { randomUUID } from "node:crypto";
import { badField } from "@cell/problem";

/** The form of a caller's `X-Request-ID` or `Idempotency-Key`. */
export const requestIdPattern = /^[A-Za-z0-9._:~-]{1,128}$/;

/** An id for a request whose caller sent none. It correlates logs and is never an idempotency key. */
export function newRequestId(): string {
  return `req-${randomUUID()}`;
}

/**
 * The caller's id in the header `name`; undefined if there is none.
 * Throws BAD_REQUEST for a malformed or repeated one: replacing it would silently cost the caller its idempotency.
 * Node joins repeated lines by ", ", which the pattern does not allow.
 */
export function readRequestId(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (!requestIdPattern.test(value)) {
    throw badField(name, "INVALID_FORMAT", "send it once, 1 to 128 characters of A-Z a-z 0-9 . _ : ~ -");
  }
  return value;
}
