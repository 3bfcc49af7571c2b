import { badField } from "@cell/problem";

/** The file of a form upload. */
export interface FilePart {
  contentType: string;
  bytes: AsyncIterable<Buffer>;
}

const mostHeadBytes = 16 * 1024;

/** Reads a streamed form (RFC 7578) that has one part, named `file`. Throws BAD_REQUEST for any other, at its end at the latest. */
export async function openFilePart(chunks: AsyncIterable<Buffer>, boundary: string): Promise<FilePart> {
  const iterator = chunks[Symbol.asyncIterator]();
  let buffer: Buffer = Buffer.alloc(0);
  const more = async () => {
    const next = await iterator.next();
    if (next.done) throw unreadable("ends before its last boundary");
    buffer = buffer.length === 0 ? next.value : Buffer.concat([buffer, next.value]);
  };

  const opening = Buffer.from(`--${boundary}\r\n`);
  while (buffer.length < opening.length) await more();
  if (!buffer.subarray(0, opening.length).equals(opening)) throw unreadable("does not begin with its boundary");
  while (buffer.indexOf("\r\n\r\n") < 0) {
    if (buffer.length > mostHeadBytes) throw unreadable("has a part whose head is too large");
    await more();
  }
  const end = buffer.indexOf("\r\n\r\n");
  const head = buffer.toString("utf8", opening.length, end);
  buffer = buffer.subarray(end + 4);
  if (!/^content-disposition:\s*form-data\s*;(?:[^\r\n]*;)?\s*name="?file"?\s*(?:;|$)/im.test(head))
    throw unreadable("takes one part, named file");

  const closing = Buffer.from(`\r\n--${boundary}`);
  async function* bytes(): AsyncGenerator<Buffer> {
    let at = buffer.indexOf(closing);
    while (at < 0) {
      // The possible beginning of the boundary stays for the next chunk.
      const whole = buffer.length - closing.length + 1;
      if (whole > 0) {
        yield buffer.subarray(0, whole);
        buffer = buffer.subarray(whole);
      }
      await more();
      at = buffer.indexOf(closing);
    }
    yield buffer.subarray(0, at);
    buffer = buffer.subarray(at + closing.length);
    while (buffer.length < 2) await more();
    if (buffer.toString("latin1", 0, 2) !== "--") throw unreadable("takes one part, named file");
  }
  return { contentType: /^content-type:\s*([^\r\n]*)/im.exec(head)?.[1] ?? "", bytes: bytes() };
}

function unreadable(message: string) {
  return badField("file", "INVALID_FORMAT", message);
}
