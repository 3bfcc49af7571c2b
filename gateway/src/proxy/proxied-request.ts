import type { IncomingMessage, ServerResponse } from "node:http";
import { type ErrorForm, type HttpMetrics, type Lane, type Logger, securityHeaders, sendProblem, toProblem } from "@cell/http";
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
  /** Finds out where the tenant is by now, when the cell says that it is elsewhere. */
  relocate(route: ForwardedRoute): Promise<Bulkhead>;
  metrics: HttpMetrics;
  log: Logger;
}

/** Where a plain request was sent. */
export interface ForwardedRoute extends Route {
  lane: Lane;
}

const retriedFaults: ReadonlySet<string> = new Set<Fault>(["connect", "connect_timeout", "reset"]);

/** How long a caller whose request was answered early may go on sending: cut off at once, it would not see the answer. */
const lingerMs = 2_000;

/** Who goes on asking past a limit waits this long for each refusal: at full speed the refusals alone would cost the others their share. */
const lateRejectionMs = 250;

const ownHeaders = Object.entries(securityHeaders).flat();

/** What belongs to one connection and not to the message, and the request's id, which is ours to send. */
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
 * One request on its way to a cell and its answer on the way back: streams, backpressure, the one retry, and the end of it.
 * A write that was sent is not sent again, idempotent or not: whether it was carried out only its caller can find out, by a repeat with its id.
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
  /** How the request was routed; undefined once it was sent elsewhere. */
  route: ForwardedRoute | undefined;
  #leaveOpenStreams: (() => void) | undefined;

  constructor(options: ProxiedRequestOptions) {
    this.#options = options;
    this.#outgoing = options.outgoing;
    options.metrics.started();
    options.outgoing.on("close", () => this.#closed());
  }

  /** True when the caller has left; nothing needs to be done for it any more. */
  get abandoned(): boolean {
    return this.#outgoing.destroyed;
  }

  /** What the answer shall say of the caller's rate limits: names and values in turn. */
  set limitHeaders(headers: readonly string[]) {
    this.#limitHeaders = headers;
  }

  /** `leave` is called when the response has ended, however. */
  holdWhileOpen(leave: () => void): void {
    this.#leaveOpenStreams = leave;
  }

  /** Ends a response that goes on, as if it were complete; one that has not begun becomes a failure. */
  end(): void {
    if (!this.#outgoing.headersSent) {
      this.fail(unavailable("The stream was ended; open it again"));
      return;
    }
    this.#connection?.destroy();
    this.#connection = undefined;
    this.#outgoing.end();
  }

  /** Sends a tenant's request to a cell; its answer, or what went wrong, goes to the caller. */
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

  /** Answers with what the gateway has at hand. */
  response({ status, headers, body }: { status: number; headers: readonly string[]; body: string }): void {
    if (this.abandoned) return;
    const length = ["content-length", String(Buffer.byteLength(body))];
    this.#outgoing.writeHead(status, [...responseHeaders(headers, this.#options.requestId, []), ...ownHeaders, ...length]);
    this.#outgoing.end(body);
  }

  /** Answers with a failure, or breaks the answer off when it has begun: half an answer must not look whole. */
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
    // A stream's first piece may be long in coming; a body of known length comes along with its head.
    if (length === undefined) this.#outgoing.flushHeaders();
  }

  onResponseBody(body: string): void {
    this.#connection = undefined;
    // As a string it leaves in one write together with its head.
    if (this.#misdirected) this.#redirect();
    else this.#outgoing.end(body, "latin1");
  }

  onResponseData(piece: Buffer): void {
    const connection = this.#connection;
    const proceed = () => {
      // By then it may be another request's.
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

  /** What a cell refused because its tenant is elsewhere has had no effect: it is sent there, once, where its body is still at hand. */
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
    else if (fault === "timeout") this.fail(new Problem("TIMEOUT", "The service did not answer in time", { cause: error }));
    else this.fail(unavailable("The service is away for a moment; try again", 1, error));
  }

  /** Once, only what was not sent or changes nothing, and within the lane's budget. */
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
    // 499: the caller left before the answer was out.
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

/** The answer's headers, names and values in turn, without those of the one hop. */
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

/** The names that a `Connection` header declares to be of one hop only; undefined when there are none, as is usual. */
export function connectionHeaders(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined || connection === "keep-alive" || connection === "close") return undefined;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}
