import type { IncomingMessage } from "node:http";
import { badField, Problem } from "@cell/problem";

/** Bodies up to this size are read before a connection to the cell is taken: a slow sender then holds none. */
const wholeBodyLimit = 64 * 1024;

/** How a body is sent to the cell: none, `whole` if it is small enough to read first, or a stream. Throws if it is rejected unread. */
export function readBody(incoming: IncomingMessage, limitBytes: number): Upload | "whole" | undefined {
  const { headers } = incoming;
  const encoding = headers["transfer-encoding"];
  const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  if (encoding === undefined && !length) return undefined;
  if (encoding !== undefined && encoding.toLowerCase() !== "chunked") throw badField("Transfer-Encoding", "INVALID_FORMAT", "only chunked");
  if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity") {
    throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body without Content-Encoding");
  }
  if (length !== undefined && length > limitBytes) throw tooLarge(limitBytes);
  return length !== undefined && length <= wholeBodyLimit ? "whole" : new Upload(incoming, limitBytes, length);
}

/** Passes a body on once it is complete. */
export function readWhole(incoming: IncomingMessage, use: (bytes: Buffer) => void): void {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => use(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
}

/** A streamed body: read as fast as the cell takes it, aborted if it exceeds the limit. */
export class Upload implements AsyncIterable<Buffer> {
  readonly #incoming: IncomingMessage;
  readonly #limit: number;
  /** In bytes, if the caller sent it. */
  readonly length: number | undefined;

  constructor(incoming: IncomingMessage, limit: number, length: number | undefined) {
    this.#incoming = incoming;
    this.#limit = limit;
    this.length = length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    let size = 0;
    try {
      // The connection must outlive the body: it carries the response.
      for await (const chunk of this.#incoming.iterator({ destroyOnReturn: false })) {
        size += chunk.length;
        if (size > this.#limit) throw tooLarge(this.#limit);
        yield chunk;
      }
    } finally {
      this.#incoming.resume();
    }
  }
}

function tooLarge(limit: number): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `The body exceeds ${limit} bytes`);
}
