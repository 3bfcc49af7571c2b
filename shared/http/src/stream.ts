import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type ReaderRate, ReaderWatch } from "./reader-watch.ts";

/** Response to HEAD: Hono makes its own response from it, so that none may have been sent. */
function headAlone(status: number, headers: Record<string, string>): Response {
  return new Response(null, { status, headers });
}

/** A text's UTF-8 bytes, as a Latin-1 string. */
export function latin1(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/**
 * Sends a whole response in one write with its head. `body` is Latin-1: a UTF-8 text would be encoded again, and bytes would need a second
 * write.
 */
export function sendWhole(outgoing: ServerResponse, status: number, headers: Record<string, string>, body: string): Response {
  if (outgoing.req.method === "HEAD") return headAlone(status, { ...headers, "content-length": String(body.length) });
  outgoing.writeHead(status, { ...headers, "content-length": body.length });
  outgoing.end(body, "latin1");
  return RESPONSE_ALREADY_SENT;
}

/**
 * When the head of a slow JSON response is sent, and how often white space follows: gateways and load balancers abort silent connections.
 */
export interface KeepAlive {
  headAfterMs: number;
  everyMs: number;
}
const keepAlive: KeepAlive = { headAfterMs: 2_000, everyMs: 10_000 };

/**
 * Sends JSON that may take long to make; `body` is Latin-1. Like `sendWhole` if the body is ready soon; otherwise it sends the head first,
 * and white space until the body is ready. Rejects as `body` does; call `abortSent` then, if anything was sent.
 */
export async function sendWhenReady(
  outgoing: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: Promise<string>,
  { headAfterMs, everyMs }: KeepAlive = keepAlive,
): Promise<Response> {
  const begin = () => {
    if (outgoing.destroyed) return;
    if (!outgoing.headersSent && outgoing.req.method !== "HEAD") outgoing.writeHead(status, headers);
    if (outgoing.headersSent) outgoing.write(" ");
  };
  let every: NodeJS.Timeout | undefined;
  const late = setTimeout(() => {
    begin();
    every = setInterval(begin, everyMs);
  }, headAfterMs);
  try {
    const text = await body;
    if (!outgoing.headersSent) return sendWhole(outgoing, status, headers, text);
    outgoing.end(text, "latin1");
    return RESPONSE_ALREADY_SENT;
  } finally {
    clearTimeout(late);
    clearInterval(every);
  }
}

export interface StreamOptions {
  /** The least that a reader has to take; without it, a reader may stall for any time. */
  rate?: ReaderRate;
  /** When the head is sent at the latest; default: with the first chunk. */
  headAfterMs?: number;
}

/** Larger chunks are written in pieces, so that a reader's progress within them counts. */
const pieceBytes = 128 * 1024;

/**
 * Sends chunks as they arrive, no faster than the client reads. The iteration ends if the client leaves or is slower than `rate`. A chunk
 * may be overwritten once the next one is requested; HEAD requests none. It writes to Node's response, since a streamed Response waits a
 * millisecond and copies. Rejects if the chunks do; call `abortSent` then, if anything was sent.
 */
export async function sendStream(
  outgoing: ServerResponse,
  status: number,
  headers: Record<string, string>,
  chunks: AsyncIterable<string | Uint8Array>,
  { rate, headAfterMs }: StreamOptions = {},
): Promise<Response> {
  if (outgoing.req.method === "HEAD") return headAlone(status, headers);
  const begin = () => {
    if (!outgoing.headersSent && !outgoing.destroyed) outgoing.writeHead(status, headers).flushHeaders();
  };
  const late = headAfterMs === undefined ? undefined : setTimeout(begin, headAfterMs);
  const watch = rate && new ReaderWatch(outgoing, rate);
  try {
    for await (const chunk of chunks) {
      if (outgoing.destroyed) return RESPONSE_ALREADY_SENT;
      if (!outgoing.headersSent) outgoing.writeHead(status, headers);
      if (!watch) await written(outgoing, chunk);
      else for (const piece of piecesOf(chunk)) await watch.during(piece.length, written(outgoing, piece));
    }
  } catch (error) {
    // The client has left: the error has no recipient.
    if (!outgoing.destroyed) throw error;
    return RESPONSE_ALREADY_SENT;
  } finally {
    clearTimeout(late);
    watch?.stop();
  }
  if (!outgoing.headersSent) outgoing.writeHead(status, headers);
  outgoing.end();
  return RESPONSE_ALREADY_SENT;
}

function piecesOf(chunk: string | Uint8Array): Uint8Array[] {
  const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
  if (bytes.length <= pieceBytes) return [bytes];
  return Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
    bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
}

/** Destroys the connection of a response that has begun, so that no client takes it for complete; undefined if nothing was sent. */
export function abortSent(outgoing: ServerResponse): Response | undefined {
  if (!outgoing.headersSent) return undefined;
  outgoing.destroy();
  return RESPONSE_ALREADY_SENT;
}

/** Resolves when a chunk has been written, or the client has left. */
function written(outgoing: ServerResponse, chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const proceed = () => {
      outgoing.off("close", proceed);
      resolve();
    };
    outgoing.on("close", proceed);
    outgoing.write(chunk, proceed);
  });
}
