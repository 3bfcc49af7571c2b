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
/** As long as browsers remember a preflight at most. */
const maxAgeSeconds = "7200";

/** Lets pages of some origins call the gateway from a browser (CORS). Tokens travel in a header, never as credentials of the browser. */
export class Cors {
  readonly #origins: ReadonlySet<string>;
  readonly #metrics: HttpMetrics;

  constructor(origins: ReadonlySet<string>, metrics: HttpMetrics) {
    this.#origins = origins;
    this.#metrics = metrics;
  }

  /** Puts on the answer, whatever it will be, what its browser asks for. A request without an origin is left alone: it is no page's. */
  prepare = ({ headers }: IncomingMessage, outgoing: ServerResponse): void => {
    const { origin } = headers;
    if (origin === undefined) return;
    outgoing.setHeader("vary", "Origin");
    if (!this.#origins.has(origin)) return;
    outgoing.setHeader("access-control-allow-origin", origin);
    outgoing.setHeader("access-control-expose-headers", exposedHeaders);
  };

  /** Answers the question of a browser whether it may send a request; false for everything else. */
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

/** Reads `https://app.example,…`. Throws an Error that names what is no origin. */
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
