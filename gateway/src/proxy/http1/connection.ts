import { connect, type Socket } from "node:net";
import { Dechunker, type ResponseHead, readHead } from "./response-head.ts";

export interface UpstreamRequest {
  method: string;
  path: string;
  /** Names and values alternating, without framing headers. */
  headers: string[];
  body: Buffer | AsyncIterable<Buffer> | undefined;
  /** Size of a streamed body in bytes, if known. */
  length?: number | undefined;
  /** Time until the response begins, in ms. */
  headersMs: number;
}

/** Why a request failed: its connection was refused, timed out or ended, its response did not arrive in time, or was not HTTP. */
export type Fault = "connect" | "connect_timeout" | "reset" | "timeout" | "malformed";

export class TransportError extends Error {
  readonly fault: Fault;
  constructor(fault: Fault, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.fault = fault;
  }
}

/** Receives a response. Nothing follows `onResponseBody`, `onResponseEnd` or `onResponseError`. */
export interface ResponseHandler {
  /** The request has been sent: from here on it may have been carried out. */
  onRequestSent(): void;
  onResponseStart(head: ResponseHead): void;
  /** The whole body as Latin-1, byte for byte. */
  onResponseBody(body: string): void;
  /** A piece of the body, which the handler owns until it calls `resume`; the next one comes after that. */
  onResponseData(piece: Buffer): void;
  onResponseEnd(): void;
  onResponseError(error: Error): void;
}

export interface ConnectionOptions {
  host: string;
  port: number;
  /** Value of the requests' `Host`. */
  authority: string;
  /** Time to connect, in ms. */
  connectMs: number;
  /** Time between two pieces of a response, in ms. */
  bodyIdleMs: number;
  /** The connection is idle: it may be reused, or is closed. */
  released(connection: Connection): void;
}

const headLimit = 64 * 1024;
/** Shared read buffer: what is not consumed synchronously is copied. Node would allocate a buffer per read. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);
/** A safe idle time for cells that do not announce how long they keep idle connections. */
const defaultIdleMs = 4_000;
/** A request sent just before the cell closes an idle connection would fail. */
const idleMarginMs = 1_000;
const joinedBodyLimit = 64 * 1024;

/** A connection to a cell: HTTP/1.1, one request at a time. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  #connected = false;
  #closed = false;
  #failure: Error | undefined;
  #request: UpstreamRequest | undefined;
  #handler: ResponseHandler | undefined;
  #head: ResponseHead | undefined;
  #pending: Buffer | undefined;
  #left = 0;
  #dechunker: Dechunker | undefined;
  /** The piece that the handler owns. */
  #piece: Buffer | undefined;
  #sending = false;
  #deadlineMs = 0;
  #idleUntilMs = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { host, port } = options;
    const onread = { buffer: readBuffer, callback: (length: number) => this.#read(readBuffer.subarray(0, length)) };
    this.#socket = connect({ host, port, noDelay: true, keepAlive: true, onread });
    this.#socket.on("connect", () => this.#whenConnected());
    this.#socket.on("error", (error) => {
      this.#failure = error;
    });
    this.#socket.on("close", () => this.#whenClosed());
    this.#socket.on("end", () => this.#socket.destroy());
    // A paused socket would not report its end.
    this.#socket.resume();
  }

  /** Whether another request may be sent on it. */
  isUsable(nowMs: number): boolean {
    return !this.#closed && nowMs < this.#idleUntilMs;
  }

  /** Everything sent so far has left, and nothing of the response has arrived. */
  get awaitsResponse(): boolean {
    return this.#handler !== undefined && this.#connected && this.#head === undefined && Number.isFinite(this.#deadlineMs);
  }

  /** Reduces the time limit of a response that is awaited. */
  shorten(headersMs: number): void {
    if (this.awaitsResponse && this.#request) this.#deadlineMs += Math.min(0, headersMs - this.#request.headersMs);
  }

  /** Sends a request. The connection must be new or usable. */
  send(request: UpstreamRequest, handler: ResponseHandler): void {
    this.#request = request;
    this.#handler = handler;
    if (this.#connected) this.#write(request, handler);
    else this.#deadlineMs = performance.now() + this.#options.connectMs;
  }

  /** Ends the request and the connection after its time limit. Called periodically. */
  check(nowMs: number): void {
    if (!this.#handler || nowMs < this.#deadlineMs || this.#socket.isPaused()) return;
    if (!this.#connected) this.#fail(new TransportError("connect_timeout", "the connection timed out"));
    else this.#fail(new TransportError("timeout", this.#head ? "the response stalled" : "the response timed out"));
  }

  /** Requests the next piece, after the handler has consumed the last one. */
  resume(): void {
    this.#deadlineMs = performance.now() + this.#options.bodyIdleMs;
    this.#socket.resume();
  }

  /** Destroys the connection; the handler of a running request is not called any more. */
  destroy(): void {
    this.#handler = undefined;
    this.#socket.destroy();
  }

  #whenConnected(): void {
    this.#connected = true;
    if (this.#request && this.#handler) this.#write(this.#request, this.#handler);
  }

  #write(request: UpstreamRequest, handler: ResponseHandler): void {
    const { method, path, headers, body, length, headersMs } = request;
    this.#deadlineMs = performance.now() + headersMs;
    let head = `${method} ${path} HTTP/1.1\r\nhost: ${this.#options.authority}\r\n`;
    for (let index = 0; index < headers.length; index += 2) head += `${headers[index]}: ${headers[index + 1]}\r\n`;
    handler.onRequestSent();
    if (body === undefined) {
      this.#socket.write(`${head}\r\n`, "latin1");
    } else if (Buffer.isBuffer(body)) {
      head += `content-length: ${body.length}\r\n\r\n`;
      if (body.length <= joinedBodyLimit) this.#socket.write(head + body.toString("latin1"), "latin1");
      else {
        this.#socket.write(head, "latin1");
        this.#socket.write(body);
      }
    } else {
      this.#sending = true;
      this.#socket.write(`${head}${length === undefined ? "transfer-encoding: chunked" : `content-length: ${length}`}\r\n\r\n`, "latin1");
      this.#stream(body, length).catch((error) => this.#fail(error));
    }
  }

  /** Sends a body as fast as the cell reads it, and stops when the response arrives. */
  async #stream(body: AsyncIterable<Buffer>, length: number | undefined): Promise<void> {
    const handler = this.#handler;
    const headersMs = this.#request?.headersMs ?? 0;
    // The cell's time limit does not run while the sender of the body is slow.
    const waitFor = (ms: number) => {
      if (!this.#head) this.#deadlineMs = performance.now() + ms;
    };
    let sent = 0;
    waitFor(Number.POSITIVE_INFINITY);
    for await (const piece of body) {
      if (this.#handler !== handler) return;
      sent += piece.length;
      const isFlushed = length === undefined ? this.#writeChunk(piece) : this.#socket.write(piece);
      if (isFlushed) continue;
      waitFor(headersMs);
      await this.#drained();
      waitFor(Number.POSITIVE_INFINITY);
    }
    if (this.#handler !== handler) return;
    waitFor(headersMs);
    if (length !== undefined && sent !== length) throw new TransportError("reset", "the body ended early");
    if (length === undefined) this.#socket.write("0\r\n\r\n", "latin1");
    this.#sending = false;
  }

  #writeChunk(piece: Buffer): boolean {
    if (piece.length === 0) return true;
    this.#socket.cork();
    this.#socket.write(`${piece.length.toString(16)}\r\n`, "latin1");
    this.#socket.write(piece);
    const isFlushed = this.#socket.write("\r\n", "latin1");
    this.#socket.uncork();
    return isFlushed;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("drain", done);
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("drain", done);
      this.#socket.on("close", done);
    });
  }

  /** Returns whether to continue reading. */
  #read(piece: Buffer): boolean {
    const handler = this.#handler;
    // Unexpected bytes belong to no request.
    if (!handler || !this.#request) {
      this.#socket.destroy();
      return false;
    }
    try {
      if (this.#head) this.#readBody(piece, handler);
      else this.#readHead(this.#pending ? Buffer.concat([this.#pending, piece]) : piece, handler);
    } catch (error) {
      this.#fail(new TransportError("malformed", (error as Error).message));
    }
    return !this.#socket.isPaused();
  }

  #readHead(piece: Buffer, handler: ResponseHandler): void {
    const text = piece.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0 && piece.length <= headLimit) {
      this.#pending = Buffer.from(piece);
      return;
    }
    if (end < 0 || end > headLimit) throw new Error("a head without an end");
    this.#pending = undefined;
    const head = readHead(text.slice(0, end), this.#request?.method === "HEAD");
    const bodyAt = end + 4;
    if (head.status === 101) throw new Error("an upgrade that was not requested");
    if (head.status < 200) {
      if (piece.length > bodyAt) this.#readHead(piece.subarray(bodyAt), handler);
      return;
    }
    this.#head = head;
    const { length } = head;
    handler.onResponseStart(head);
    if (length === piece.length - bodyAt) {
      this.#finish(() => handler.onResponseBody(text.slice(bodyAt)));
      return;
    }
    this.#left = length ?? 0;
    this.#dechunker = length === undefined ? new Dechunker() : undefined;
    if (length === undefined || piece.length > bodyAt) this.#readBody(piece.subarray(bodyAt), handler);
    else this.#deadlineMs = performance.now() + this.#options.bodyIdleMs;
  }

  #readBody(piece: Buffer, handler: ResponseHandler): void {
    this.#deadlineMs = performance.now() + this.#options.bodyIdleMs;
    const own = this.#piece && this.#piece.length >= piece.length ? this.#piece : Buffer.allocUnsafeSlow(piece.length);
    this.#piece = own;
    let length = 0;
    const take = (data: Buffer) => {
      own.set(data, length);
      length += data.length;
    };
    let used = piece.length;
    if (this.#dechunker) {
      used = this.#dechunker.read(piece, take);
    } else {
      used = Math.min(this.#left, piece.length);
      this.#left -= used;
      take(piece.subarray(0, used));
    }
    if (used < piece.length) throw new Error("bytes after the response");
    if (length > 0) {
      this.#socket.pause();
      handler.onResponseData(own.subarray(0, length));
    }
    if (this.#dechunker ? this.#dechunker.ended : this.#left === 0) this.#finish(() => handler.onResponseEnd());
  }

  #finish(tell: () => void): void {
    if (!this.#handler) return;
    const { closes = true, idleMs = defaultIdleMs } = this.#head ?? {};
    const isReusable = !closes && !this.#sending && !this.#closed;
    this.#request = undefined;
    this.#handler = undefined;
    this.#head = undefined;
    this.#dechunker = undefined;
    // The handler may still use the buffer, and an idle connection needs none.
    this.#piece = undefined;
    if (isReusable) {
      this.#idleUntilMs = performance.now() + idleMs - idleMarginMs;
      if (this.#socket.isPaused()) this.#socket.resume();
    } else {
      this.#closed = true;
      this.#socket.destroy();
    }
    this.#options.released(this);
    tell();
  }

  #fail(error: Error): void {
    const handler = this.#handler;
    this.destroy();
    handler?.onResponseError(error);
  }

  #whenClosed(): void {
    this.#closed = true;
    const handler = this.#handler;
    this.#handler = undefined;
    this.#options.released(this);
    handler?.onResponseError(
      new TransportError(this.#connected ? "reset" : "connect", this.#failure?.message ?? "the connection has ended", this.#failure),
    );
  }
}
