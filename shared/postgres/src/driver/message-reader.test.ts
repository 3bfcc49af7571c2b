import { EventEmitter } from "node:events";
import type pg from "pg";
import { expect, test } from "vitest";
import { type RawRow, readDataRows } from "./message-reader.ts";

function message(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeInt32BE(4 + content.length, 1);
  return Buffer.concat([head, content]);
}

function row(...fields: (string | null)[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeInt16BE(fields.length);
  const values = fields.map((field) => {
    const bytes = Buffer.from(field ?? "");
    const length = Buffer.alloc(4);
    length.writeInt32BE(field === null ? -1 : bytes.length);
    return Buffer.concat([length, bytes]);
  });
  return message("D", Buffer.concat([count, ...values]));
}

const described = message("T", Buffer.from("columns"));
const completed = message("C", Buffer.from("SELECT 2\0"));
const ready = message("Z", Buffer.from("I"));
const response = Buffer.concat([described, row("某某公司", null, ""), row("2", "x".repeat(300), "3"), completed, ready, ready]);

/** What the connection emits for a response in these pieces, in order. */
function recorded(pieces: readonly Buffer[]): unknown[] {
  const stream = new EventEmitter();
  const connection = Object.assign(new EventEmitter(), { stream });
  const heard: unknown[] = [];
  stream.on("data", (bytes: Buffer) => heard.push(...bytes.toString("latin1")));
  connection.on("dataRow", ({ fields }: RawRow) => heard.push(fields));
  // The reader uses the stream and the events alone; a whole connection of the driver would open a socket.
  readDataRows(connection as unknown as pg.Connection);
  for (const piece of pieces) stream.emit("data", piece);
  return heard;
}

const expected = [
  ...described.toString("latin1"),
  ["某某公司", null, ""],
  ["2", "x".repeat(300), "3"],
  ...Buffer.concat([completed, ready, ready]).toString("latin1"),
];

test("the reader emits data rows and leaves other messages to the driver, in order, however the network splits them", () => {
  expect(recorded([response])).toEqual(expected);
  for (let first = 1; first < response.length; first++) {
    for (const length of [1, 4, 5, 6, 200]) {
      const pieces = [response.subarray(0, first), response.subarray(first, first + length), response.subarray(first + length)];
      expect(recorded(pieces.filter((piece) => piece.length > 0))).toEqual(expected);
    }
  }
  expect(recorded([...response].map((byte) => Buffer.from([byte])))).toEqual(expected);
});
