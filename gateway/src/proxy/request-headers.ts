import type { IncomingMessage } from "node:http";
import { connectionHeaders } from "./proxied-request.ts";

/** The only headers of a caller that a cell sees, besides what the gateway itself says about the caller. */
const forwardedHeaders = [
  "accept",
  "accept-language",
  "content-type",
  "if-match",
  "if-none-match",
  "idempotency-key",
  "x-idempotency-mode",
  "x-tenant-id",
  "user-agent",
  "last-event-id",
  "traceparent",
];
/** What a cell sees of an upgrade besides: the handshake, and the page that asks. */
const upgradeHeaders = [
  ...forwardedHeaders,
  "origin",
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-protocol",
  "sec-websocket-extensions",
];
/** `Connection` cannot take these from a request: they say whose it is. */
const fixedHeaders = new Set(["x-tenant-id"]);

/** What the gateway says about a caller. */
interface Said {
  address: string;
  requestId: string;
  assertion: string;
}

/** The headers of a request to a cell, names and values in turn. */
export function requestHeaders(incoming: IncomingMessage, { address, requestId, assertion }: Said, names = forwardedHeaders): string[] {
  const { headers } = incoming;
  const named = connectionHeaders(headers.connection);
  const list = ["x-cell-assertion", assertion, "x-request-id", requestId, "x-forwarded-for", address];
  for (const name of names) {
    const value = headers[name];
    if (typeof value === "string" && (!named?.has(name) || fixedHeaders.has(name))) list.push(name, value);
  }
  return list;
}

/** The same for an upgrade to a WebSocket. */
export function upgradeRequestHeaders(incoming: IncomingMessage, said: Said): string[] {
  return [...requestHeaders(incoming, said, upgradeHeaders), "connection", "Upgrade", "upgrade", "websocket"];
}
