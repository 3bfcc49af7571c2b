import type { IncomingMessage } from "node:http";
import { Problem } from "@cell/problem";
import { parseJson } from "./json.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The parsed JSON body of a request, up to `bytesAtMost`. Throws the documented error unless it is well-formed JSON in UTF-8. */
export async function readJson(incoming: IncomingMessage, bytesAtMost: number, keysAtMost?: number): Promise<unknown> {
  return parseJsonBytes(await readJsonBytes(incoming, bytesAtMost), keysAtMost);
}

/** The bytes of a request's JSON body. Throws the documented error for another media type and for more than `bytesAtMost`. */
export async function readJsonBytes(incoming: IncomingMessage, bytesAtMost: number): Promise<Buffer> {
  assertJsonType(incoming);
  return readBytes(incoming, bytesAtMost);
}

/**
 * The same of a body that may be left out: undefined where there is none. A chunked one of no bytes is none, whatever its media type:
 * several HTTP clients send it so.
 */
export async function readOptionalJsonBytes(incoming: IncomingMessage, bytesAtMost: number): Promise<Buffer | undefined> {
  const { "content-length": length = "0", "transfer-encoding": encoding } = incoming.headers;
  if (encoding === undefined) return length === "0" ? undefined : readJsonBytes(incoming, bytesAtMost);
  const bytes = await readBytes(incoming, bytesAtMost);
  if (bytes.length === 0) return undefined;
  assertJsonType(incoming);
  return bytes;
}

function assertJsonType({ headers }: IncomingMessage): void {
  const { "content-type": type, "content-encoding": encoding } = headers;
  if (type === undefined || !/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(type)) {
    throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json in UTF-8");
  }
  if (encoding !== undefined) throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body without Content-Encoding");
}

/** Parses the bytes of a JSON body. Throws the documented error unless they are well-formed JSON in UTF-8. */
export function parseJsonBytes(bytes: Buffer, keysAtMost?: number): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The body is not UTF-8", { cause });
  }
  return parseJson(text, keysAtMost);
}

/** The bytes of a request's body. Rejects with PAYLOAD_TOO_LARGE for more than `bytesAtMost`. */
export async function readBytes(incoming: IncomingMessage, bytesAtMost: number): Promise<Buffer> {
  if (Number(incoming.headers["content-length"] ?? 0) > bytesAtMost) throw tooLarge(bytesAtMost);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size <= bytesAtMost) {
        chunks.push(chunk);
        return;
      }
      // Keeps the connection open: it still has to carry the response.
      incoming.off("data", take);
      reject(tooLarge(bytesAtMost));
    };
    incoming.on("data", take);
    incoming.on("end", () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    incoming.on("error", (cause) => reject(new Problem("BAD_REQUEST", "The body ended before it was complete", { cause })));
  });
}

function tooLarge(bytesAtMost: number): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `The body may have at most ${bytesAtMost} bytes`);
}
