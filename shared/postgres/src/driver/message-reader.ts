import type { Duplex } from "node:stream";
import type pg from "pg";

/** Message type of a data row, and the length of a message's head: its type and its length. */
const [dataRow, headLength] = [0x44, 5] as const;
/** The bytes between a row message's length and its first field: the length itself and the number of fields. */
const rowHeadLength = 6;

/** A row as the server sent it: the number of fields, then the length (-1: null) and bytes of each. */
export class RawRow {
  readonly bytes: Buffer;
  /** Offset of the first field's length. */
  readonly at: number;

  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Size of the server's message in bytes. */
  get size(): number {
    return this.bytes.readInt32BE(this.at - rowHeadLength);
  }

  /** A field as text; null for NULL, undefined if the row has no such field. */
  field(index: number): string | null | undefined {
    const bytes = this.bytesOf(index);
    return bytes === null ? null : bytes?.toString("utf8");
  }

  /** A field's bytes, a view into the row; null for NULL, undefined if the row has no such field. */
  bytesOf(index: number): Buffer | null | undefined {
    const { bytes } = this;
    if (index < 0 || index >= bytes.readInt16BE(this.at - 2)) return undefined;
    let { at } = this;
    for (let before = 0; before < index; before++) at += 4 + Math.max(0, bytes.readInt32BE(at));
    const length = bytes.readInt32BE(at);
    return length < 0 ? null : bytes.subarray(at + 4, at + 4 + length);
  }

  /** All fields as text, for the driver's own queries and cursors. */
  get fields(): (string | null)[] {
    const { bytes } = this;
    const fields = new Array<string | null>(bytes.readInt16BE(this.at - 2));
    let { at } = this;
    for (let index = 0; index < fields.length; index++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      fields[index] = length < 0 ? null : bytes.toString("utf8", at, at + length);
      if (length > 0) at += length;
    }
    return fields;
  }
}

/** Makes a connection pass on data rows unparsed, to be read where they are used; the driver would make a string of each field. */
export function readDataRows(connection: pg.Connection): void {
  const stream: Duplex = connection.stream;
  const driver = stream.listeners("data") as ((bytes: Buffer) => void)[];
  const tell = (bytes: Buffer) => {
    for (const listener of driver) listener.call(stream, bytes);
  };
  /** The parts of an incomplete message. */
  let begun: Buffer[] = [];
  let missing = 0;

  function read(chunk: Buffer): void {
    if (missing > chunk.length) {
      begun.push(chunk);
      missing -= chunk.length;
      return;
    }
    const bytes = begun.length > 0 ? Buffer.concat([...begun, chunk]) : chunk;
    let at = 0;
    // Consecutive messages of other types go to the driver together.
    let others = 0;
    missing = headLength;
    while (at + headLength <= bytes.length) {
      const end = at + 1 + bytes.readInt32BE(at + 1);
      missing = Math.max(end - bytes.length, 0);
      if (missing > 0) break;
      if (bytes[at] === dataRow) {
        if (others < at) tell(bytes.subarray(others, at));
        connection.emit("dataRow", new RawRow(bytes, at + headLength + 2));
        others = end;
      }
      at = end;
      missing = headLength;
    }
    if (others < at) tell(bytes.subarray(others, at));
    begun = at < bytes.length ? [bytes.subarray(at)] : [];
    if (missing === headLength) missing -= bytes.length - at;
  }

  for (const listener of driver) stream.off("data", listener);
  stream.on("data", read);
}
