import { Problem } from "@cell/problem";
import { type TransferEnd, type TransferHead, transferFormat } from "./export.ts";

/** The parts of a transfer in order: the head, whole rows of one table after the other, the end. */
export type TransferPiece =
  | { kind: "head"; head: TransferHead }
  | { kind: "rows"; table: string; columns: string[]; rows: Buffer }
  | { kind: "end"; end: TransferEnd };

const newline = 0x0a;
const endOfRows = Buffer.from("\\.\n");
const longestLine = 1024 * 1024;

/** Parses the lines of a transfer; rows come in pieces of about `pieceBytes`. Throws BAD_REQUEST for a malformed or incomplete transfer. */
export async function* readTransfer(chunks: AsyncIterable<Uint8Array>, pieceBytes: number): AsyncGenerator<TransferPiece> {
  let pending: Buffer = Buffer.alloc(0);
  let started = false;
  let ended = false;
  let table: { table: string; columns: string[] } | undefined;
  let rows: Buffer[] = [];
  let size = 0;
  const flush = (): TransferPiece[] => {
    if (!table || size === 0) return [];
    const piece: TransferPiece = { kind: "rows", ...table, rows: Buffer.concat(rows) };
    rows = [];
    size = 0;
    return [piece];
  };
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([pending, chunk]);
    for (;;) {
      if (table) {
        const { taken, done, rest } = splitRows(pending);
        if (taken.length > 0) rows.push(taken);
        size += taken.length;
        pending = rest;
        if (size >= pieceBytes || done) yield* flush();
        if (!done) break;
        table = undefined;
      }
      const end = pending.indexOf(newline);
      if (end < 0) {
        if (pending.length > longestLine) throw noTransfer();
        break;
      }
      const line = parse(pending.subarray(0, end).toString());
      pending = pending.subarray(end + 1);
      if (!started) {
        if (line.format !== transferFormat) throw noTransfer();
        started = true;
        yield { kind: "head", head: line as Record<string, unknown> & TransferHead };
      } else if (typeof line.table === "string") {
        table = line as { table: string; columns: string[] };
      } else {
        ended = true;
        yield { kind: "end", end: line as Record<string, unknown> & TransferEnd };
      }
    }
  }
  if (!ended) throw new Problem("BAD_REQUEST", "The copy of the tenant ended before it was complete");
}

/** Takes whole rows from the front, up to the marker after a table's last row. */
function splitRows(bytes: Buffer): { taken: Buffer; done: boolean; rest: Buffer } {
  const begins = bytes.subarray(0, endOfRows.length).equals(endOfRows);
  const mark = begins ? 0 : bytes.indexOf("\n\\.\n") + 1;
  if (begins || mark > 0) return { taken: bytes.subarray(0, mark), done: true, rest: bytes.subarray(mark + endOfRows.length) };
  const whole = bytes.lastIndexOf(newline) + 1;
  return { taken: bytes.subarray(0, whole), done: false, rest: bytes.subarray(whole) };
}

function parse(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "This is not a copy of a tenant", { cause });
  }
}

function noTransfer(): Problem {
  return new Problem("BAD_REQUEST", "This is not a copy of a tenant");
}
