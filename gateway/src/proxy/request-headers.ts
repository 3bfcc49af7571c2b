import type { IncomingMessage } from "node:http";
import { connectionHeaders } from "./proxied-request.ts";

/** The only caller's headers that a cell receives, besides what the gateway itself adds. */
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
/** Further headers of an upgrade: the handshake, and the page's origin. */
const upgradeHeaders = [
  ...forwardedHeaders,
  "origin",
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-protocol",
  "sec-websocket-extensions",
];
/** `Connection` cannot remove these from a request: they identify its tenant. */
const fixedHeaders = new Set(["x-tenant-id"]);

/** What the gateway adds about a caller. */
interface Said {
  address: string;
  requestId: string;
  assertion: string;
}

/** The headers of a request to a cell, names and values alternating. */
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
