import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type ReaderRate, ReaderWatch } from "./reader-watch.ts";

/** What HEAD gets: Hono makes an answer of its own out of it, and must find none sent. */
function headAlone(status: number, headers: Record<string, string>): Response {
  return new Response(null, { status, headers });
}

/** A text's UTF-8 as Latin-1, byte for byte. */
export function latin1(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** Sends a whole answer in one write together with its head, `body` as Latin-1: a text would be encoded, and bytes would need a write of their own. */
export function sendWhole(outgoing: ServerResponse, status: number, headers: Record<string, string>, body: string): Response {
  if (outgoing.req.method === "HEAD") return headAlone(status, { ...headers, "content-length": String(body.length) });
  outgoing.writeHead(status, { ...headers, "content-length": body.length });
  outgoing.end(body, "latin1");
  return RESPONSE_ALREADY_SENT;
}

/** When the head of a JSON answer leaves whose body takes longer, and how often white space follows: gateways and load balancers give up what is silent. */
export interface KeepAlive {
  headAfterMs: number;
  everyMs: number;
}
const keepAlive: KeepAlive = { headAfterMs: 2_000, everyMs: 10_000 };

/**
 * Sends JSON that may take long to make, `body` as Latin-1: as `sendWhole` does where it is there soon; else its head leaves before it, and
 * white space until it is there. Rejects as `body` does; `abortSent` then, if anything was sent.
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
  /** What a reader has to take; without it, one may stand still for as long as it likes. */
  rate?: ReaderRate;
  /** When the head leaves at the latest; by default with the first chunk. */
  headAfterMs?: number;
}

/** A chunk that is larger is written in pieces, so that what a reader has taken of it counts. */
const pieceBytes = 128 * 1024;

/**
 * Sends chunks as they come, no faster than the client reads; a client that leaves, or is slower than it has to be, ends the iteration. A
 * chunk may be overwritten when the next one is asked for; HEAD asks for none. Written to Node's response, since a streamed Response waits a
 * millisecond and copies. Rejects with what the chunks reject with; `abortSent` then, if anything was sent.
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
    // Nobody is there any more to whom it could be told.
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

/** Cuts the connection of an answer that was begun, so that nobody takes it for whole; undefined when nothing was sent. */
export function abortSent(outgoing: ServerResponse): Response | undefined {
  if (!outgoing.headersSent) return undefined;
  outgoing.destroy();
  return RESPONSE_ALREADY_SENT;
}

/** Resolves when a chunk is on its way, or the client has left. */
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
