import type { IncomingMessage, ServerResponse } from "node:http";
import { type Caller, type Logger, methodNotAllowed, signAssertion } from "@cell/http";
import { badField, notFound, Problem, unavailable } from "@cell/problem";
import { type Access, principalOf } from "../auth/access.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import { clientAddress } from "../auth/client-address.ts";
import { type Identity, type RequestId, readIdentity } from "../auth/request-identity.ts";
import type { Config } from "../config.ts";
import type { RateLimits } from "../limits/rate-limits.ts";
import type { GatewayMetrics } from "../metrics.ts";
import type { Bulkhead } from "../upstream/bulkhead.ts";
import { CellHealth } from "../upstream/cell-health.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { UpstreamRequest } from "./http1/connection.ts";
import { connectionHeaders, ProxiedRequest, type Route } from "./proxied-request.ts";
import type { Target } from "./route-target.ts";
import { type SlowRoute, slowRouteOf } from "./slow-routes.ts";

export interface ForwardOptions {
  config: Config;
  authenticator: Authenticator;
  rateLimits: RateLimits;
  upstreams: Upstreams;
  metrics: GatewayMetrics;
  log: Logger;
}

/** A request to a cell: answers it, whatever happens. */
export type Forward = (incoming: IncomingMessage, outgoing: ServerResponse, target: Target, id: RequestId) => void;

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const bodyLimit = 1024 * 1024;
/** Bodies up to this many bytes are read before a cell's connection is taken: a slow sender then holds none. */
const wholeBodyLimit = 64 * 1024;

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
/** `Connection` cannot take these from a request: they say whose it is. */
const fixedHeaders = new Set(["x-tenant-id"]);

/** Makes the function that authenticates a request, finds the partition of its tenant and passes it on. */
export function createForward({ config, authenticator, rateLimits, upstreams, metrics, log }: ForwardOptions): Forward {
  const patterns = new Map(config.cells.map(({ name }) => [name, `/api/v1/${name}/*`]));
  const { timeouts, assertionKeys } = config;
  const cellHealth = new CellHealth(config.cells, upstreams.cellHttp);

  /** Where the tenant of a request is, when it is not where `access` says. */
  async function relocate(incoming: IncomingMessage, { access, cell, kind }: Route): Promise<Bulkhead> {
    const { token = "" } = readIdentity(incoming);
    const url = (await authenticator.refreshPlacement(token, access)).placements.get(cell);
    if (url === undefined || url === access.placements.get(cell)) throw unavailable("This tenant is being moved; try again");
    return upstreams.get(url)[kind];
  }

  function send(proxied: ProxiedRequest, incoming: IncomingMessage, target: Target, access: Access, caller: Caller, address: string): void {
    const url = access.placements.get(target.cell);
    if (url === undefined) throw unavailable("This tenant has no place in this service yet", 60);
    const slow = slowRouteOf(target.path);
    const body = readBody(incoming, slow);
    const streams = slow?.bulkhead === "streams" || body instanceof Upload || incoming.headers.accept === "text/event-stream";
    const kind = streams ? "streams" : "requests";
    const bulkhead = upstreams.get(url)[kind];
    proxied.route = { access, cell: target.cell, kind };
    const { tenantId } = caller.principal;
    const request: UpstreamRequest = {
      path: target.path + target.query,
      method: incoming.method ?? "",
      headers: requestHeaders(
        incoming,
        address,
        caller.requestId,
        signAssertion(assertionKeys, target.cell, caller, Math.floor(Date.now() / 1000)),
      ),
      headersMs: slow ? timeouts.slowHeadersMs : timeouts.headersMs,
      body: undefined,
    };
    if (body === undefined) {
      proxied.send(bulkhead, tenantId, request);
    } else if (body instanceof Upload) {
      proxied.send(bulkhead, tenantId, { ...request, body, length: body.length });
    } else {
      // Once more when it is there; but what is refused now is not worth its reading.
      const rejection = bulkhead.rejection(tenantId);
      if (rejection) throw rejection;
      readWhole(incoming, (bytes) => proxied.send(bulkhead, tenantId, { ...request, body: bytes }));
    }
  }

  return function forward(incoming, outgoing, target, id) {
    const proxied = new ProxiedRequest({
      incoming,
      outgoing,
      requestId: id.requestId,
      pattern: patterns.get(target.cell) ?? "/api/v1/*",
      relocate,
      metrics,
      log,
    });
    const proceed = (access: Access, identity: Identity, address: string) => {
      if (proxied.abandoned) return;
      proxied.limitHeaders = rateLimits.take(access.tokenId, access.principal.tenantId, access.rateLimit);
      send(proxied, incoming, target, access, { principal: principalOf(access, identity), ...id }, address);
    };
    try {
      if (!methods.includes(incoming.method ?? "")) throw methodNotAllowed(methods);
      if (!patterns.has(target.cell)) throw notFound("Service");
      if (incoming.headers.upgrade !== undefined) refuseWebSocket(incoming.headers.upgrade);
      if (CellHealth.isOpen(incoming.method, target.path)) {
        cellHealth.read(target.cell, target.path).then(
          (response) => proxied.response(response),
          (error) => proxied.fail(error),
        );
        return;
      }
      const identity = readIdentity(incoming);
      const address = clientAddress(incoming, config.trustedProxies);
      const access = authenticator.authenticate(identity.token, address);
      if (access instanceof Promise) access.then((found) => proceed(found, identity, address)).catch((error) => proxied.fail(error));
      else proceed(access, identity, address);
    } catch (error) {
      proxied.fail(error);
    }
  };
}

/** Answered as a plain request, a WebSocket client would not know why it has no socket; other upgrades are offers that may be passed over. */
function refuseWebSocket(upgrade: string): void {
  if (/\bwebsocket\b/i.test(upgrade)) throw badField("Upgrade", "NOT_SUPPORTED", "there is no WebSocket here; leave this header out");
}

function requestHeaders(incoming: IncomingMessage, address: string, requestId: string, assertion: string): string[] {
  const { headers } = incoming;
  const named = connectionHeaders(headers.connection);
  const list = ["x-cell-assertion", assertion, "x-request-id", requestId, "x-forwarded-for", address];
  for (const name of forwardedHeaders) {
    const value = headers[name];
    if (typeof value === "string" && (!named?.has(name) || fixedHeaders.has(name))) list.push(name, value);
  }
  return list;
}

/** The body's way to the cell: none, `whole` when it is small enough to read first, or a stream. Throws what refuses it unread. */
function readBody(incoming: IncomingMessage, slow: SlowRoute | undefined): Upload | "whole" | undefined {
  const { headers } = incoming;
  const encoding = headers["transfer-encoding"];
  const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  if (encoding === undefined && !length) return undefined;
  if (encoding !== undefined && encoding.toLowerCase() !== "chunked") throw badField("Transfer-Encoding", "INVALID_FORMAT", "only chunked");
  if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity") {
    throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body without Content-Encoding");
  }
  const limit = slow?.bodyLimit ?? bodyLimit;
  if (length !== undefined && length > limit) throw tooLarge(limit);
  return length !== undefined && length <= wholeBodyLimit ? "whole" : new Upload(incoming, limit, length);
}

function readWhole(incoming: IncomingMessage, use: (bytes: Buffer) => void): void {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => use(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
}

/** A body that streams through: read as fast as the cell takes it, broken off when it exceeds the limit. */
class Upload implements AsyncIterable<Buffer> {
  readonly #incoming: IncomingMessage;
  readonly #limit: number;
  /** In bytes, where the caller has said it. */
  readonly length: number | undefined;

  constructor(incoming: IncomingMessage, limit: number, length: number | undefined) {
    this.#incoming = incoming;
    this.#limit = limit;
    this.length = length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    let size = 0;
    try {
      // The connection has to outlive the body: the answer goes out on it.
      for await (const chunk of this.#incoming.iterator({ destroyOnReturn: false })) {
        size += chunk.length;
        if (size > this.#limit) throw tooLarge(this.#limit);
        yield chunk;
      }
    } finally {
      this.#incoming.resume();
    }
  }
}

function tooLarge(limit: number): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `The body exceeds ${limit} bytes`);
}
