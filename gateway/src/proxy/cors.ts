import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpMetrics } from "@cell/http";

const allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE";
const allowedHeaders = [
  "Accept-Language",
  "Authorization",
  "Content-Type",
  "Idempotency-Key",
  "If-Match",
  "If-None-Match",
  "Last-Event-ID",
  "Traceparent",
  "X-Idempotency-Mode",
  "X-Request-ID",
  "X-Tenant-Id",
  "X-User-Id",
].join(", ");
const exposedHeaders = [
  "Content-Disposition",
  "ETag",
  "Idempotency-Replayed",
  "RateLimit",
  "RateLimit-Policy",
  "Retry-After",
  "X-Request-ID",
].join(", ");
/** Browsers cache a preflight for no longer. */
const maxAgeSeconds = "7200";

/** Lets pages of some origins call the gateway from a browser (CORS). Tokens are sent in a header, never as the browser's credentials. */
export class Cors {
  readonly #origins: ReadonlySet<string>;
  readonly #metrics: HttpMetrics;

  constructor(origins: ReadonlySet<string>, metrics: HttpMetrics) {
    this.#origins = origins;
    this.#metrics = metrics;
  }

  /** Sets the CORS headers of any response. Requests without an origin are not from a page and are ignored. */
  prepare = ({ headers }: IncomingMessage, outgoing: ServerResponse): void => {
    const { origin } = headers;
    if (origin === undefined) return;
    outgoing.setHeader("vary", "Origin");
    if (!this.#origins.has(origin)) return;
    outgoing.setHeader("access-control-allow-origin", origin);
    outgoing.setHeader("access-control-expose-headers", exposedHeaders);
  };

  /** Responds to a CORS preflight; false for all other requests. */
  respondToPreflight({ method, headers }: IncomingMessage, outgoing: ServerResponse, requestId: string): boolean {
    const { origin, "access-control-request-method": wanted } = headers;
    if (method !== "OPTIONS" || wanted === undefined || origin === undefined || !this.#origins.has(origin)) return false;
    const startedAtMs = performance.now();
    this.#metrics.started();
    outgoing.on("close", () => this.#metrics.finished("OPTIONS", "preflight", 204, (performance.now() - startedAtMs) / 1000));
    outgoing.writeHead(204, {
      "access-control-allow-methods": allowedMethods,
      "access-control-allow-headers": allowedHeaders,
      "access-control-max-age": maxAgeSeconds,
      "x-request-id": requestId,
    });
    outgoing.end();
    return true;
  }
}

/** Parses `https://app.example,…`. Throws an Error that names an invalid origin. */
export function parseOrigins(text: string): ReadonlySet<string> {
  const parts = text.split(",").map((part) => part.trim());
  return new Set(parts.filter((part) => part !== "").map(originOf));
}

function originOf(text: string): string {
  const url = URL.parse(text);
  const isOrigin = url !== null && /^https?:$/.test(url.protocol) && !url.host.includes("*") && url.href === `${url.origin}/`;
  if (!isOrigin) throw new Error(`must hold origins such as https://host or https://host:port, not "${text}"`);
  return url.origin;
}
