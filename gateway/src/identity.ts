import type { IncomingMessage } from "node:http";
import { newRequestId, readRequestId } from "@cell/http";
import { badField, Problem } from "@cell/problem";

/** What a caller says about itself in the headers; nothing of it is proven yet. */
export interface Identity {
  token: string | undefined;
  tenantId: string | undefined;
  userId: string | undefined;
}

/** The request's id, and whether the caller sent it: only then may it serve as an idempotency key. */
export interface RequestId {
  requestId: string;
  requestIdIsKey: boolean;
}

/** What a user's id may look like: it travels in a header. */
export const userIdPattern = /^[A-Za-z0-9._:@-]{1,128}$/;

// Node keeps the first line of some and joins others: neither tells that the caller sent two.
const singleHeaders = new Map(
  ["host", "authorization", "x-tenant-id", "x-user-id", "x-request-id"].map((name, index) => [name, 1 << index]),
);
const hostBit = singleHeaders.get("host") ?? 0;

/** Throws BAD_REQUEST when a header that decides who calls whom comes twice, or `Host` is missing. */
export function checkHeaders({ rawHeaders }: IncomingMessage): void {
  let seen = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const bit = singleHeaders.get(name.toLowerCase());
    if (bit === undefined) continue;
    if (seen & bit) throw badField(name, "REPEATED", "send this header once");
    seen |= bit;
  }
  if (!(seen & hostBit)) throw badField("Host", "REQUIRED", "send this header");
}

/** The caller's id, or a new one. Throws BAD_REQUEST for a malformed one. */
export function identifyRequest(incoming: IncomingMessage): RequestId {
  const given = readRequestId("X-Request-ID", incoming.headers["x-request-id"] as string | undefined);
  return given === undefined ? { requestId: newRequestId(), requestIdIsKey: false } : { requestId: given, requestIdIsKey: true };
}

/** Who the caller says it is. Throws UNAUTHORIZED when `Authorization` holds anything but a bearer token. */
export function readIdentity({ headers }: IncomingMessage): Identity {
  return {
    token: readToken(headers.authorization),
    tenantId: headers["x-tenant-id"] as string | undefined,
    userId: headers["x-user-id"] as string | undefined,
  };
}

function readToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined;
  const token = /^Bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1];
  if (token === undefined) throw new Problem("UNAUTHORIZED", "Authorization is written: Bearer <key>");
  return token;
}
