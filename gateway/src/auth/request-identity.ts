import type { IncomingMessage } from "node:http";
import { newRequestId, readRequestId } from "@cell/http";
import { Problem } from "@cell/problem";
import { AuthenticationError } from "./authentication-error.ts";

/** A caller's claims about itself in the headers, unverified. */
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

/** The form of a user's id, which is sent in a header. */
export const userIdPattern = /^[A-Za-z0-9._:@-]{1,128}$/;

/** The caller's id, or a new one. Throws BAD_REQUEST for a malformed one. */
export function identifyRequest(incoming: IncomingMessage): RequestId {
  const given = readRequestId("X-Request-ID", incoming.headers["x-request-id"] as string | undefined);
  return given === undefined ? { requestId: newRequestId(), requestIdIsKey: false } : { requestId: given, requestIdIsKey: true };
}

/** The caller's claimed identity. Throws UNAUTHORIZED if `Authorization` is anything but a bearer token. */
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
  if (token !== undefined) return token;
  const message = "Send the header as Authorization: Bearer <token>";
  if (/^Bearer\b/i.test(authorization)) throw new AuthenticationError(message, { cacheable: false });
  throw new Problem("UNAUTHORIZED", message);
}
