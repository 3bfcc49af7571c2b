import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";

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

/**
 * Sends chunks as they come, no faster than the client reads; a client that leaves ends the iteration. A chunk may be overwritten when the
 * next one is asked for; HEAD asks for none. Written to Node's response, since a streamed Response waits a millisecond and copies. Rejects
 * with what the chunks reject with; `abortSent` then, if anything was sent.
 */
export async function sendStream(
  outgoing: ServerResponse,
  status: number,
  headers: Record<string, string>,
  chunks: AsyncIterable<string | Uint8Array>,
): Promise<Response> {
  if (outgoing.req.method === "HEAD") return headAlone(status, headers);
  for await (const chunk of chunks) {
    if (outgoing.destroyed) return RESPONSE_ALREADY_SENT;
    if (!outgoing.headersSent) outgoing.writeHead(status, headers);
    await written(outgoing, chunk);
  }
  if (!outgoing.headersSent) outgoing.writeHead(status, headers);
  outgoing.end();
  return RESPONSE_ALREADY_SENT;
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
