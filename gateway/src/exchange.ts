import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { type HttpMetrics, type Logger, sendProblem, toProblem } from "@cell/http";
import { Problem, unavailable } from "@cell/problem";
import type { Dispatcher } from "undici";
import type { Lane } from "./upstreams.ts";

export interface ExchangeOptions {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  requestId: string;
  /** The route's pattern, for the metrics. */
  route: string;
  metrics: HttpMetrics;
  log: Logger;
}

/** How long a caller whose request was answered early may go on sending: cut off at once, it would not see the answer. */
const lingerMs = 2_000;

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

const connectionFaults = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "UND_ERR_SOCKET",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** One request on its way to a cell and its answer on the way back: streams, backpressure, the one retry, and the end of it. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions;
  readonly #outgoing: ServerResponse;
  readonly #startedAtMs = performance.now();
  #lane: Lane | undefined;
  #request: Dispatcher.DispatchOptions | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #length: string | undefined;
  #sent = false;
  #retried = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.#outgoing = options.outgoing;
    options.metrics.started();
    options.outgoing.on("close", () => this.#closed());
  }

  /** True when the caller has left; nothing needs to be done for it any more. */
  get abandoned(): boolean {
    return this.#outgoing.destroyed;
  }

  /** Sends the request to a cell; its answer, or what went wrong, goes to the caller. */
  send(lane: Lane, request: Dispatcher.DispatchOptions): void {
    if (lane.running >= lane.limit) {
      this.fail(unavailable("The service has more to do than it can; try again"));
      return;
    }
    this.#lane = lane;
    this.#request = request;
    lane.running++;
    lane.pool.dispatch(request, this);
  }

  /** Answers with a failure, or breaks the answer off when it has begun: half an answer must not look whole. */
  fail(error: unknown): void {
    const { log, requestId, route } = this.#options;
    if (this.abandoned) return;
    const problem = toProblem(error);
    if (problem.status >= 500) log.warn({ err: problem.cause ?? problem, requestId, route, code: problem.code }, "request failed");
    if (this.#outgoing.headersSent) this.#outgoing.destroy();
    else sendProblem(this.#outgoing, problem, requestId);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    this.#sent = true;
    if (this.abandoned) controller.abort(new Error("the caller has left"));
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#outgoing.writeHead(status, answerHeaders(headers, this.#options.requestId));
    this.#length = headers["content-length"];
    // A stream's first piece may be long in coming; a body of known length comes along with its head.
    if (this.#length === undefined) this.#outgoing.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    // The whole body at once leaves in one write together with its head, if it is a string.
    if (String(chunk.length) === this.#length) {
      this.#outgoing.end(chunk.toString("latin1"), "latin1");
      return;
    }
    if (this.#outgoing.write(chunk)) return;
    controller.pause();
    this.#outgoing.once("drain", () => controller.resume());
  }

  onResponseEnd(): void {
    this.#outgoing.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error & { code?: string }): void {
    const { code = "" } = error;
    if (connectionFaults.has(code) && this.#mayRetry()) this.#retry();
    else if (error instanceof Problem || code === "UND_ERR_INVALID_ARG") this.fail(error);
    else if (code === "UND_ERR_HEADERS_TIMEOUT") this.fail(new Problem("TIMEOUT", "The service did not answer in time", { cause: error }));
    else this.fail(unavailable("The service is away for a moment; try again", 1, error));
  }

  /** Once, and only what was not sent or changes nothing. */
  #mayRetry(): boolean {
    const method = this.#request?.method;
    return !this.#retried && !this.abandoned && !this.#outgoing.headersSent && (!this.#sent || method === "GET" || method === "HEAD");
  }

  #retry(): void {
    this.#retried = true;
    if (this.#lane && this.#request) this.#lane.pool.dispatch(this.#request, this);
  }

  #closed(): void {
    if (this.#lane) this.#lane.running--;
    const { incoming, metrics, route } = this.#options;
    const { writableFinished, statusCode } = this.#outgoing;
    if (!writableFinished) this.#controller?.abort(new Error("the caller has left"));
    // 499: the caller left before the answer was out.
    metrics.finished(incoming.method ?? "", route, writableFinished ? statusCode : 499, (performance.now() - this.#startedAtMs) / 1000);
    if (!incoming.complete) this.#linger();
  }

  #linger(): void {
    const { incoming } = this.#options;
    const cut = setTimeout(() => incoming.socket.destroy(), lingerMs).unref();
    incoming.once("close", () => clearTimeout(cut));
    incoming.resume();
  }
}

function answerHeaders(headers: IncomingHttpHeaders, requestId: string): string[] {
  const named = connectionHeaders(headers.connection);
  const answer = ["x-request-id", requestId];
  for (const name in headers) {
    if (droppedHeaders.has(name) || named?.has(name)) continue;
    const value = headers[name];
    if (typeof value === "string") answer.push(name, value);
    else for (const one of value ?? []) answer.push(name, one);
  }
  return answer;
}

/** The names that a `Connection` header declares to be of one hop only; undefined when there are none, as is usual. */
export function connectionHeaders(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined || connection === "keep-alive" || connection === "close") return undefined;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}
