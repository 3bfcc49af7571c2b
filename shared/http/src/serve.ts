import { createServer, type IncomingMessage, ServerResponse, STATUS_CODES } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Problem } from "@cell/problem";
import { getRequestListener, type HttpBindings, RequestError } from "@hono/node-server";
import { checkHead, headLimits } from "./head.ts";
import type { Logger } from "./log.ts";
import { problemBody, problemResponse, sendProblem, toProblem } from "./render.ts";
import { newRequestId, readRequestId } from "./request-id.ts";

export type { HttpBindings };

export interface ServeOptions {
  fetch(request: Request, env: HttpBindings): Response | Promise<Response>;
  /** Sees every request first, even before its head is checked: the headers that it sets are on every response. */
  prepare?(incoming: IncomingMessage, outgoing: ServerResponse): void;
  /** Sees every request before `fetch`, as Node delivers it; returns true if it responds itself. */
  intercept?(incoming: IncomingMessage, outgoing: ServerResponse): boolean;
  host: string;
  port: number;
  log: Logger;
  /** From the head to the end of the body; a slower client is cut off. */
  requestTimeoutMs: number;
  /** Maximum of concurrent connections; default: `connectionLimits`. */
  connections?: number;
  /** Time after SIGTERM in which connections are still accepted while /ready fails, so that load balancers notice. */
  drainDelayMs: number;
  /** Time for running requests to finish after that. */
  drainTimeoutMs: number;
  /** Takes WebSocket upgrades. A request that it does not accept arrives as a plain request. */
  upgrade?: {
    /** Called before the head is checked. */
    accepts(request: IncomingMessage): boolean;
    /** `outgoing` is for a response without an upgrade; its end closes the connection. `head`: bytes received after the request's head. */
    handle(request: IncomingMessage, socket: Duplex, head: Buffer, outgoing: ServerResponse): void;
  };
  /** Called when the shutdown begins, to end open streams. */
  onDrain?(): void;
  /** Runs after the last request: closes pools and stops timers. */
  close(): Promise<void>;
}

export interface Server {
  url: string;
  port: number;
  /** True from the beginning of the shutdown. */
  readonly draining: boolean;
  /** Drains and closes, like SIGTERM. Idempotent. */
  stop(): Promise<void>;
}

/** Limits of connections: further ones are closed as they arrive, and silent ones are cut off. */
export const connectionLimits = {
  connections: 10_000,
  /** Until the head has arrived; `requestTimeoutMs` if that is less. */
  headersTimeoutMs: 10_000,
  /** Between two requests: longer than the idle timeout of load balancers. */
  keepAliveTimeoutMs: 65_000,
  /** Interval of the timeout check. */
  checkEveryMs: 1_000,
} as const;

/** Listens, answers malformed HTTP in our error form, and drains on SIGTERM or SIGINT. Rejects if the port is taken. */
export async function serve(options: ServeOptions): Promise<Server> {
  const { log } = options;
  let stopping: Promise<void> | undefined;
  const response = getRequestListener(options.fetch as (request: Request) => Response | Promise<Response>, {
    errorHandler: rejectUnreadable,
  });
  const server = createServer(
    {
      maxHeaderSize: headLimits.bytes,
      headersTimeout: Math.min(connectionLimits.headersTimeoutMs, options.requestTimeoutMs),
      requestTimeout: options.requestTimeoutMs,
      keepAliveTimeout: connectionLimits.keepAliveTimeoutMs,
      connectionsCheckingInterval: connectionLimits.checkEveryMs,
      noDelay: true,
      // Node would send an empty 400; ours has the error form.
      requireHostHeader: false,
      shouldUpgradeCallback: (incoming) => options.upgrade?.accepts(incoming) ?? false,
    },
    (incoming, outgoing) => {
      if (stopping) outgoing.shouldKeepAlive = false;
      options.prepare?.(incoming, outgoing);
      if (isRefused(incoming, outgoing)) return;
      if (!options.intercept?.(incoming, outgoing)) void response(incoming, outgoing);
    },
  );
  // Node silently drops the header lines past this number: one more than allowed shows that there were too many.
  server.maxHeadersCount = headLimits.lines + 1;
  server.maxConnections = options.connections ?? connectionLimits.connections;
  server.on("checkExpectation", (incoming, outgoing) => {
    options.prepare?.(incoming, outgoing);
    if (!isRefused(incoming, outgoing)) refuse(incoming, outgoing, new Problem("BAD_REQUEST", "Expect may only be 100-continue"));
  });
  const sockets = new Set<Duplex>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("clientError", rejectMalformed);
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    writeProblem(socket, 405, new Problem("METHOD_NOT_ALLOWED", "This is not a proxy: CONNECT is not supported"));
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    const outgoing = new ServerResponse(incoming);
    outgoing.shouldKeepAlive = false;
    outgoing.assignSocket(socket as Socket);
    outgoing.on("finish", () => socket.end());
    options.prepare?.(incoming, outgoing);
    if (!isRefused(incoming, outgoing)) options.upgrade?.handle(incoming, socket, head, outgoing);
  });

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  /** Node takes a connection without any request yet for a busy one. */
  function closeIdle(): void {
    server.closeIdleConnections();
    for (const socket of sockets) if ((socket as Socket).bytesRead === 0) socket.destroy();
  }

  async function drain(): Promise<void> {
    log.info("draining");
    options.onDrain?.();
    // `connection: close` keeps a client from sending its next request on a connection that is about to close.
    for (const socket of sockets) {
      const response = currentResponse(socket);
      if (response) response.shouldKeepAlive = false;
    }
    await new Promise((resolve) => setTimeout(resolve, options.drainDelayMs));
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    closeIdle();
    const idle = setInterval(closeIdle, 50);
    const cut = setTimeout(() => server.closeAllConnections(), options.drainTimeoutMs);
    await closed;
    clearInterval(idle);
    clearTimeout(cut);
    await options.close();
    log.info("stopped");
  }

  const running: Server = {
    url: `http://${options.host}:${port}`,
    port,
    get draining() {
      return stopping !== undefined;
    },
    stop() {
      stopping ??= drain();
      return stopping;
    },
  };
  return running;
}

/** Stops the server and ends the process on SIGTERM or SIGINT; a second signal ends it immediately. */
export function stopOnSignals(server: Server, log: Logger): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (server.draining) process.exit(1);
      server.stop().then(
        () => process.exit(0),
        (error) => {
          log.error({ err: error }, "could not stop cleanly");
          process.exit(1);
        },
      );
    });
  }
}

/** Connections on which a head was rejected: the bytes that follow may be a smuggled request. */
const refused = new WeakSet<Socket>();

/** Responds to a request whose head is rejected, and ends its connection; returns whether it did. */
function isRefused(incoming: IncomingMessage, outgoing: ServerResponse): boolean {
  if (refused.has(incoming.socket)) return true;
  try {
    checkHead(incoming);
    return false;
  } catch (error) {
    refuse(incoming, outgoing, toProblem(error));
    return true;
  }
}

function refuse(incoming: IncomingMessage, outgoing: ServerResponse, problem: Problem): void {
  refused.add(incoming.socket);
  outgoing.shouldKeepAlive = false;
  sendProblem(outgoing, problem, requestIdOf(incoming));
}

function requestIdOf({ headers }: IncomingMessage): string {
  try {
    return readRequestId("X-Request-ID", headers["x-request-id"] as string | undefined) ?? newRequestId();
  } catch {
    // A malformed id is never echoed.
    return newRequestId();
  }
}

/** 400 for a request without a host or with an unreadable target; any other error that leaves the application is our fault. */
function rejectUnreadable(error: unknown): Response {
  const problem = error instanceof RequestError ? new Problem("BAD_REQUEST", "The host or the path is not valid") : toProblem(error);
  const requestId = newRequestId();
  const response = problemResponse(problem, requestId);
  response.headers.set("x-request-id", requestId);
  return response;
}

/** Node answers a request that it cannot parse with an empty 400; ours has the error form. The connection ends. */
function rejectMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  // After part of a response, these bytes would be read as its continuation.
  if (error.code === "ECONNRESET" || !socket.writable || currentResponse(socket)?.headersSent) {
    socket.destroy();
  } else if (error.code === "HPE_HEADER_OVERFLOW") {
    writeProblem(socket, 431, new Problem("BAD_REQUEST", `The headers exceed ${headLimits.bytes} bytes`));
  } else if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
    writeProblem(socket, 408, new Problem("BAD_REQUEST", "The request did not arrive in time"));
  } else {
    writeProblem(socket, 400, new Problem("BAD_REQUEST", "This is not well-formed HTTP/1.1"));
  }
}

/** The response in progress on a connection. Node stores it there: its default handler of malformed requests needs it too. */
function currentResponse(socket: Duplex): ServerResponse | null | undefined {
  return (socket as Duplex & { _httpMessage?: ServerResponse | null })._httpMessage;
}

/** Writes an error without a response object, and ends the connection. */
function writeProblem(socket: Duplex, status: number, problem: Problem): void {
  const requestId = newRequestId();
  const body = problemBody(problem, requestId);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json; charset=utf-8\r\nx-request-id: ${requestId}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
