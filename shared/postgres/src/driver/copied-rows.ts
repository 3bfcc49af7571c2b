import type { Duplex } from "node:stream";

/** Message types of the protocol, and the length of a message's head: its type and its length. */
const [copyData, readyForQuery, headLength] = [0x64, 0x5a, 5] as const;

/**
 * Takes the rows of a COPY TO STDOUT that is about to begin directly from the connection, as bytes without the messages around them: the
 * driver would make an object and an event of each row. The driver gets all other messages, and has the connection back with the last of
 * them.
 */
export function readCopyData(stream: Duplex, take: (rows: Buffer) => void): void {
  const driver = stream.listeners("data") as ((bytes: Buffer) => void)[];
  const tell = (bytes: Buffer) => {
    for (const listener of driver) listener.call(stream, bytes);
  };
  /** Bytes missing of the row at the end of the last chunk. */
  let missing = 0;
  /** The incomplete message head at the end of the last chunk. */
  let begun: Buffer | undefined;

  function read(chunk: Buffer): void {
    const bytes = begun ? Buffer.concat([begun, chunk]) : chunk;
    begun = undefined;
    let at = Math.min(missing, bytes.length);
    missing -= at;
    let [from, to] = [0, at];
    const flush = () => {
      if (to > from) take(bytes.subarray(from, to));
      from = to;
    };
    while (at + headLength <= bytes.length) {
      const end = at + 1 + bytes.readInt32BE(at + 1);
      if (bytes[at] === copyData) {
        const there = Math.min(end, bytes.length);
        // Moves consecutive rows together, over the heads between them.
        bytes.copyWithin(to, at + headLength, there);
        to += there - at - headLength;
        at = there;
        missing = end - there;
      } else if (bytes[at] === readyForQuery) {
        flush();
        stream.off("data", read);
        for (const listener of driver) stream.on("data", listener);
        tell(bytes.subarray(at));
        return;
      } else {
        if (end > bytes.length) break;
        flush();
        tell(bytes.subarray(at, end));
        at = end;
      }
    }
    flush();
    if (at < bytes.length) begun = bytes.subarray(at);
  }

  for (const listener of driver) stream.off("data", listener);
  stream.on("data", read);
}
