import type { IncomingMessage, ServerResponse } from "node:http";
import { type BulkheadName, type ErrorForm, type HttpMetrics, type Logger, securityHeaders, sendProblem, toProblem } from "@cell/http";
import { Problem, unavailable } from "@cell/problem";
import type { Bulkhead, Permit } from "../upstream/bulkhead.ts";
import { type Connection, type Fault, type ResponseHandler, TransportError, type UpstreamRequest } from "./http1/connection.ts";
import type { ResponseHead } from "./http1/response-head.ts";
import type { Route } from "./relocation.ts";

export interface ProxiedRequestOptions {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  requestId: string;
  /** The route's pattern, for the metrics. */
  pattern: string;
  /** The form of the gateway's own errors on this route. */
  errorForm: ErrorForm;
  /** Finds the tenant's current partition, after the cell has responded that it is elsewhere. */
  relocate(route: ForwardedRoute): Promise<Bulkhead>;
  metrics: HttpMetrics;
  log: Logger;
}

/** The route of a plain request. */
export interface ForwardedRoute extends Route {
  bulkhead: BulkheadName;
}

const retriedFaults: ReadonlySet<string> = new Set<Fault>(["connect", "connect_timeout", "reset"]);

/**
 * How long a caller that received an early response may continue to send: if it were cut off immediately, it would not read the response.
 */
const lingerMs = 2_000;

/** Delays 429 responses, so that a client that ignores them cannot exhaust the gateway's CPU. */
const lateRejectionMs = 250;

const ownHeaders = Object.entries(securityHeaders).flat();

/** Hop-by-hop headers, and the request's id, which the gateway sets. */
const droppedHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-request-id",
]);

/**
 * One request to a cell and its response: streaming, backpressure, the single retry, and its end.
 * A write that was sent is never retried, idempotent or not: only its caller can find out whether it was carried out, by a retry with the
 * same id.
 */
export class ProxiedRequest implements ResponseHandler {
  readonly #options: ProxiedRequestOptions;
  readonly #outgoing: ServerResponse;
  readonly #startedAtMs = performance.now();
  #bulkhead: Bulkhead | undefined;
  #permit: Permit | undefined;
  #tenantId = "";
  #limitHeaders: readonly string[] = [];
  #request: UpstreamRequest | undefined;
  #connection: Connection | undefined;
  #sent = false;
  #retried = false;
  #misdirected = false;
  /** How the request was routed; undefined after it was redirected. */
  route: ForwardedRoute | undefined;
  #leaveOpenStreams: (() => void) | undefined;

  constructor(options: ProxiedRequestOptions) {
    this.#options = options;
    this.#outgoing = options.outgoing;
    options.metrics.started();
    options.outgoing.on("close", () => this.#closed());
  }

  /** True after the caller has left; nothing needs to be done for it any more. */
  get abandoned(): boolean {
    return this.#outgoing.destroyed;
  }

  /** The response's rate limit headers: names and values alternating. */
  set limitHeaders(headers: readonly string[]) {
    this.#limitHeaders = headers;
  }

  /** `leave` is called at the end of the response in any case. */
  holdWhileOpen(leave: () => void): void {
    this.#leaveOpenStreams = leave;
  }

  /** Ends a running response as if it were complete; one that has not begun becomes an error. */
  end(): void {
    if (!this.#outgoing.headersSent) {
      this.fail(unavailable("The stream was ended; open it again"));
      return;
    }
    this.#connection?.destroy();
    this.#connection = undefined;
    this.#outgoing.end();
  }

  /** Sends a tenant's request to a cell; the caller gets its response, or the error. */
  send(bulkhead: Bulkhead, tenantId: string, request: UpstreamRequest): void {
    if (this.abandoned) return;
    const rejection = bulkhead.rejection(tenantId);
    if (rejection) {
      this.fail(rejection);
      return;
    }
    this.#bulkhead = bulkhead;
    this.#tenantId = tenantId;
    this.#request = request;
    this.#sent = false;
    this.#permit = bulkhead.enter(tenantId, () => {
      this.#connection = bulkhead.pool.send(request, this);
    });
  }

  /** Responds with given content. */
  respond({ status, headers, body }: { status: number; headers: readonly string[]; body: string }): void {
    if (this.abandoned) return;
    const length = ["content-length", String(Buffer.byteLength(body))];
    this.#outgoing.writeHead(status, [...responseHeaders(headers, this.#options.requestId, []), ...ownHeaders, ...length]);
    this.#outgoing.end(body);
  }

  /** Responds with an error, or cuts off a response that has begun, so that it does not look complete. */
  fail(error: unknown): void {
    const { log, requestId, pattern, errorForm } = this.#options;
    if (this.abandoned) return;
    const problem = toProblem(error);
    if (problem.status >= 500) log.warn({ err: problem.cause ?? problem, requestId, route: pattern, code: problem.code }, "request failed");
    if (this.#outgoing.headersSent) this.#outgoing.destroy();
    else if (problem.status === 429) this.#refuseLate(problem);
    else sendProblem(this.#outgoing, problem, requestId, errorForm);
  }

  #refuseLate(problem: Problem): void {
    setTimeout(() => {
      if (!this.abandoned) sendProblem(this.#outgoing, problem, this.#options.requestId, this.#options.errorForm);
    }, lateRejectionMs);
  }

  onRequestSent(): void {
    this.#sent = true;
  }

  onResponseStart({ status, headers, length }: ResponseHead): void {
    this.#bulkhead?.answered();
    this.#misdirected = status === 421;
    if (this.#misdirected) return;
    this.#outgoing.writeHead(status, responseHeaders(headers, this.#options.requestId, this.#limitHeaders));
    // The first piece of a stream may take long; a body of known length is sent together with its head.
    if (length === undefined) this.#outgoing.flushHeaders();
  }

  onResponseBody(body: string): void {
    this.#connection = undefined;
    // As a string, it is sent in one write together with its head.
    if (this.#misdirected) this.#redirect();
    else this.#outgoing.end(body, "latin1");
  }

  onResponseData(piece: Buffer): void {
    const connection = this.#connection;
    const proceed = () => {
      // It may belong to another request by then.
      if (connection === this.#connection) connection?.resume();
    };
    if (this.#misdirected) proceed();
    else this.#outgoing.write(piece, proceed);
  }

  onResponseEnd(): void {
    this.#connection = undefined;
    if (this.#misdirected) this.#redirect();
    else this.#outgoing.end();
  }

  /**
   * A request that a cell rejected because its tenant is elsewhere had no effect: it is redirected once, if its body is still available.
   */
  #redirect(): void {
    const { route } = this;
    const { relocate } = this.#options;
    const request = this.#request;
    this.route = undefined;
    this.#misdirected = false;
    this.#leave();
    this.#retried = false;
    if (!route || !request || (request.body && !Buffer.isBuffer(request.body))) {
      this.fail(unavailable("This tenant is being moved; try again"));
      return;
    }
    relocate(route).then(
      (bulkhead) => this.send(bulkhead, this.#tenantId, request),
      (error) => this.fail(error),
    );
  }

  onResponseError(error: Error): void {
    this.#connection = undefined;
    if (this.abandoned) return;
    if (!(error instanceof TransportError)) {
      this.fail(error instanceof Problem ? error : new Problem("BAD_REQUEST", "The body ended early", { cause: error }));
      return;
    }
    const fault = this.#outgoing.headersSent ? "broken" : error.fault;
    this.#bulkhead?.failed(fault);
    if (retriedFaults.has(fault) && this.#mayRetry()) this.#retry();
    else if (fault === "timeout") this.fail(new Problem("TIMEOUT", "The service did not respond in time", { cause: error }));
    else this.fail(unavailable("The service is not reachable for a moment; try again", 1, error));
  }

  /** One retry, only for requests that were not sent or change nothing, and within the retry budget. */
  #mayRetry(): boolean {
    const method = this.#request?.method;
    if (this.#retried || (this.#sent && method !== "GET" && method !== "HEAD")) return false;
    return this.#bulkhead?.tryRetry() ?? false;
  }

  #retry(): void {
    this.#retried = true;
    if (this.#bulkhead && this.#request) this.#connection = this.#bulkhead.pool.send(this.#request, this);
  }

  #closed(): void {
    this.#leave();
    this.#leaveOpenStreams?.();
    const { incoming, metrics, pattern } = this.#options;
    const { writableFinished, statusCode } = this.#outgoing;
    if (!writableFinished) this.#connection?.destroy();
    // 499: the caller left before the response was complete.
    metrics.finished(incoming.method ?? "", pattern, writableFinished ? statusCode : 499, (performance.now() - this.#startedAtMs) / 1000);
    if (!incoming.complete) this.#linger();
  }

  #leave(): void {
    if (this.#permit) this.#bulkhead?.release(this.#permit, this.#retried);
    this.#permit = undefined;
    this.#bulkhead = undefined;
  }

  #linger(): void {
    const { incoming } = this.#options;
    const cut = setTimeout(() => incoming.socket.destroy(), lingerMs).unref();
    incoming.once("close", () => clearTimeout(cut));
    incoming.resume();
  }
}

/** The response's headers, names and values alternating, without hop-by-hop ones. */
export function responseHeaders(headers: readonly string[], requestId: string, limits: readonly string[]): string[] {
  const response = ["x-request-id", requestId, ...limits];
  let named: Set<string> | undefined;
  for (let index = 0; index < headers.length; index += 2)
    if (headers[index] === "connection") named = connectionHeaders(headers[index + 1]);
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (!droppedHeaders.has(name) && !named?.has(name)) response.push(name, headers[index + 1] as string);
  }
  return response;
}

/** The hop-by-hop headers that a `Connection` header declares; undefined if there are none, as usual. */
export function connectionHeaders(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined || connection === "keep-alive" || connection === "close") return undefined;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}
