import { type ClientRequest, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { closedPolicy, type Logger, newRequestId, type RoutePolicy, sendProblem, signAssertion, toProblem } from "@cell/http";
import { type Problem, unavailable } from "@cell/problem";
import { identifyRequest, type RequestId } from "../auth/request-identity.ts";
import type { Config } from "../config.ts";
import type { OpenStreams } from "../limits/open-streams.ts";
import type { GatewayMetrics } from "../metrics.ts";
import type { CellDeclarations } from "../upstream/declarations.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { Admission, Admitted } from "./admission.ts";
import { noPlace } from "./forward.ts";
import { type Fault, TransportError } from "./http1/connection.ts";
import { responseHeaders } from "./proxied-request.ts";
import type { FindPartition } from "./relocation.ts";
import { upgradeRequestHeaders } from "./request-headers.ts";
import type { PrefixTable, Target } from "./route-target.ts";

export interface UpgradeOptions {
  config: Config;
  prefixes: PrefixTable;
  declarations: CellDeclarations;
  admission: Admission;
  openStreams: OpenStreams;
  findPartition: FindPartition;
  upstreams: Upstreams;
  metrics: GatewayMetrics;
  log: Logger;
}

/** A request to open a WebSocket, from the caller's upgrade to the cell's. */
interface Handshake {
  incoming: IncomingMessage;
  /** The caller's connection. */
  socket: Duplex;
  early: EarlyData;
  /** For a response that is not an upgrade. */
  outgoing: ServerResponse;
  target: Target;
  policy: RoutePolicy;
  id: RequestId;
}

/** Forwards WebSockets to the routes that declare them. All other upgrades stay plain requests. */
export class Upgrades {
  readonly #options: UpgradeOptions;

  constructor(options: UpgradeOptions) {
    this.#options = options;
  }

  /** Whether a request is for a route that accepts WebSockets. */
  accepts = ({ method, url = "", headers }: IncomingMessage): boolean => {
    if (method !== "GET" || headers.upgrade?.toLowerCase() !== "websocket") return false;
    try {
      const target = this.#options.prefixes.find(url);
      return target !== undefined && this.#policyOf(target).upgrade;
    } catch {
      // An unreadable request is rejected as a plain one.
      return false;
    }
  };

  /** Handles an accepted request; always responds. */
  handle = (incoming: IncomingMessage, socket: Duplex, head: Buffer, outgoing: ServerResponse): void => {
    const { metrics } = this.#options;
    const target = this.#options.prefixes.find(incoming.url ?? "") as Target;
    const policy = this.#policyOf(target);
    const startedAtMs = performance.now();
    let status = 0;
    metrics.started();
    outgoing.on("finish", () => {
      status = outgoing.statusCode;
    });
    socket.on("close", () => {
      const answered = status === 0 ? (upgraded.has(socket) ? 101 : 499) : status;
      metrics.finished("GET", target.pattern, answered, (performance.now() - startedAtMs) / 1000);
    });
    let id: RequestId;
    try {
      id = identifyRequest(incoming);
    } catch (error) {
      sendProblem(outgoing, toProblem(error), newRequestId(), policy.errorForm);
      return;
    }
    const handshake = { incoming, socket, early: new EarlyData(socket, head), outgoing, target, policy, id };
    this.#open(handshake).catch((error) => this.#fail(handshake, error));
  };

  #policyOf({ cell, decodedPath }: Target): RoutePolicy {
    return this.#options.declarations.get(cell)?.policies.of("GET", decodedPath) ?? closedPolicy;
  }

  async #open(handshake: Handshake): Promise<void> {
    const { admission, findPartition } = this.#options;
    const { incoming, target, policy, id } = handshake;
    const admitted = await admission.admit(incoming, target, policy, id);
    const { access, token } = admitted;
    const url = access.placements.get(target.cell);
    if (url === undefined) throw noPlace();
    const isElsewhere = await this.#connect(handshake, admitted, url);
    if (isElsewhere) await this.#connect(handshake, admitted, await findPartition({ access, token, cell: target.cell }));
  }

  /** Opens the socket at a partition; resolves to true if the partition rejects it because the tenant is elsewhere. */
  async #connect(handshake: Handshake, admitted: Admitted, url: string): Promise<boolean> {
    const { openStreams, upstreams } = this.#options;
    const { socket, target } = handshake;
    const { access, token, caller } = admitted;
    if (socket.destroyed) return false;
    const bulkhead = upstreams.get(url).events;
    const rejection = bulkhead.rejection(caller.principal.tenantId);
    if (rejection) throw rejection;
    const request = this.#request(handshake, admitted, url);
    const end = () => {
      request.destroy();
      socket.destroy();
    };
    const leave = openStreams.enter({ kind: "socket", access, token, cell: target.cell, url, expiresAtMs: access.expiresAtMs, end });
    socket.on("close", () => {
      leave();
      request.destroy();
    });
    try {
      const response = await responseOf(request);
      bulkhead.answered();
      if (socket.destroyed) {
        response.upstream?.destroy();
        return false;
      }
      if (response.upstream) {
        join(handshake, admitted, response.incoming, response.upstream, response.head, this.#options.config.timeouts.bodyIdleMs);
        return false;
      }
      leave();
      if (response.incoming.statusCode === 421) {
        response.incoming.resume();
        return true;
      }
      passOn(handshake, admitted, response.incoming);
      return false;
    } catch (error) {
      leave();
      // The caller has left: nothing is wrong with the cell.
      if (socket.destroyed) return false;
      bulkhead.failed(faultOf(error));
      throw unavailable("The service is not reachable for a moment; try again", 1, error);
    }
  }

  #request({ incoming, target }: Handshake, { caller, address, query }: Admitted, url: string): ClientRequest {
    const { assertionKeys, timeouts } = this.#options.config;
    const assertion = signAssertion(assertionKeys, target.cell, caller, Math.floor(Date.now() / 1000));
    const headers = upgradeRequestHeaders(incoming, { address, requestId: caller.requestId, assertion });
    const { host, hostname, port } = new URL(url);
    const request = httpRequest({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port || 80,
      path: target.path + query,
      headers: ["host", host, ...headers],
      agent: false,
      timeout: timeouts.headersMs,
    });
    request.on("timeout", () => request.destroy(new TransportError("timeout", "the response timed out")));
    request.end();
    return request;
  }

  #fail({ outgoing, socket, target, policy, id }: Handshake, error: unknown): void {
    const problem: Problem = toProblem(error);
    const { requestId } = id;
    if (problem.status >= 500)
      this.#options.log.warn({ err: problem.cause ?? problem, requestId, route: target.pattern, code: problem.code }, "upgrade failed");
    if (socket.destroyed || outgoing.headersSent || upgraded.has(socket)) socket.destroy();
    else sendProblem(outgoing, problem, requestId, policy.errorForm);
  }
}

const earlyDataLimit = 16 * 1024;

/** What a caller sends before its socket is open. Reading it shows when the caller leaves, too. */
class EarlyData {
  readonly #socket: Duplex;
  readonly #pieces: Buffer[];
  #size = 0;

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    this.#pieces = [head];
    socket.on("data", this.#add);
    socket.on("end", this.#leave);
  }

  /** Stops reading, and returns what was read. */
  take(): Buffer {
    this.#socket.off("data", this.#add);
    this.#socket.off("end", this.#leave);
    this.#socket.pause();
    return Buffer.concat(this.#pieces);
  }

  #add = (piece: Buffer): void => {
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size > earlyDataLimit) this.#leave();
  };

  #leave = (): void => {
    this.#socket.destroy();
  };
}

/** The connections that have become sockets. */
const upgraded = new WeakSet<Duplex>();

function faultOf(error: unknown): Fault {
  if (error instanceof TransportError) return error.fault;
  return (error as NodeJS.ErrnoException).code === "ECONNREFUSED" ? "connect" : "reset";
}

interface CellResponse {
  incoming: IncomingMessage;
  /** The cell's end of the socket; undefined for a response that is not an upgrade. */
  upstream: Socket | undefined;
  /** Bytes that the cell sent after the head. */
  head: Buffer;
}

function responseOf(request: ClientRequest): Promise<CellResponse> {
  return new Promise((resolve, reject) => {
    request.on("upgrade", (incoming, upstream, head) => resolve({ incoming, upstream: upstream as Socket, head }));
    request.on("response", (incoming) => resolve({ incoming, upstream: undefined, head: Buffer.alloc(0) }));
    request.on("error", reject);
  });
}

/** Connects the two ends: each receives what the other sends, and both end together. */
function join(
  { socket, early, outgoing, id }: Handshake,
  { limitHeaders }: Admitted,
  response: IncomingMessage,
  upstream: Socket,
  upstreamHead: Buffer,
  idleMs: number,
): void {
  outgoing.detachSocket(socket as Socket);
  upgraded.add(socket);
  const headers = responseHeaders(lowerCased(response.rawHeaders), id.requestId, limitHeaders);
  let text = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
  for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  socket.write(`${text}\r\n`, "latin1");
  if (upstreamHead.length > 0) socket.write(upstreamHead);
  const sent = early.take();
  if (sent.length > 0) upstream.write(sent);
  // A socket without any traffic in either direction, not even a ping, is dead.
  upstream.setTimeout(idleMs, () => upstream.destroy());
  (socket as Socket).setTimeout(0);
  for (const [one, other] of [
    [socket, upstream],
    [upstream, socket],
  ] as const) {
    one.pipe(other);
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
}

/** Passes on the cell's response that is not an upgrade. */
function passOn({ outgoing, id }: Handshake, { limitHeaders }: Admitted, response: IncomingMessage): void {
  outgoing.writeHead(Number(response.statusCode), responseHeaders(lowerCased(response.rawHeaders), id.requestId, limitHeaders));
  response.pipe(outgoing);
  response.on("error", () => outgoing.destroy());
}

function lowerCased(headers: readonly string[]): string[] {
  return headers.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
}
