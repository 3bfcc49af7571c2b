import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";

/**
 * Sends chunks as they come, no faster than the client reads; a client that leaves ends the iteration. Written to Node's response, since a
 * streamed Response waits a millisecond and copies. Rejects with what the chunks reject with; `abortSent` then, if anything was sent.
 */
export async function sendStream(
  outgoing: ServerResponse,
  status: number,
  headers: Record<string, string>,
  chunks: AsyncIterable<string | Uint8Array>,
): Promise<Response> {
  for await (const chunk of chunks) {
    if (outgoing.destroyed) return RESPONSE_ALREADY_SENT;
    if (!outgoing.headersSent) outgoing.writeHead(status, headers);
    if (!outgoing.write(chunk)) await writable(outgoing);
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

/** Resolves when the client has taken what was written, or has left. */
function writable(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (outgoing.destroyed) return resolve();
    const proceed = () => {
      outgoing.off("drain", proceed).off("close", proceed);
      resolve();
    };
    outgoing.on("drain", proceed).on("close", proceed);
  });
}
