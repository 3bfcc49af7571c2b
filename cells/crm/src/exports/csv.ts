import { setTimeout as sleep } from "node:timers/promises";
import { type Clearance, mask, type Resource } from "@cell/cell";
import { csvCell, csvLine, csvText } from "../csv.ts";

const byteOrderMark = "\uFEFF";
/** A client is not kept waiting longer for the first sign of a file. */
const headAfterMs = 10;

export interface CsvOptions {
  resource: Pick<Resource, "fields" | "sensitive">;
  clearance: Clearance;
  tenantId: string;
  bom: boolean;
  /** After all rows were read, before the last of them leave; or, with `completed` false, after the client left. */
  ended(rows: number, completed: boolean): Promise<void>;
}

/** A CSV file of records in pieces, masked as their lists are. */
export function csvFile<Row extends object>(batches: AsyncGenerator<Row[]>, options: CsvOptions): AsyncGenerator<string> {
  return csvPieces(batches, lineOf(options), options);
}

/** A CSV file in pieces, each row as `line` writes it. */
export async function* csvPieces<Row>(
  batches: AsyncGenerator<Row[]>,
  line: (row: Row) => string,
  { resource, bom, ended }: Pick<CsvOptions, "resource" | "bom" | "ended">,
): AsyncGenerator<string> {
  let sent = 0;
  let completed = false;
  try {
    let next = batches.next();
    // A refusal that comes at once is still told as one; rows that take longer follow the header.
    await Promise.race([next, sleep(headAfterMs)]);
    yield (bom ? byteOrderMark : "") + csvLine(resource.fields);
    let held = "";
    for (let batch = await next; !batch.done; batch = await next) {
      if (held !== "") yield held;
      held = "";
      for (const row of batch.value) held += line(row);
      sent += batch.value.length;
      next = batches.next();
    }
    await ended(sent, true);
    completed = true;
    yield held;
  } finally {
    await batches.return(undefined);
    if (!completed) await ended(sent, false);
  }
}

/** How a row is written: worked out once for the file, since there may be a million. */
function lineOf({ resource, clearance, tenantId }: CsvOptions): (row: object) => string {
  const cells = resource.fields.map((field): ((row: Record<string, unknown>) => string) => {
    if (field === "tenantId") return () => csvText(tenantId);
    const kind = resource.sensitive[field];
    if (!kind || clearance.clear.has(kind) || clearance.revealed.has(field)) return (row) => csvCell(row[field]);
    return (row) => csvCell(mask(kind, row[field]));
  });
  const [first, ...others] = cells;
  return (row) => {
    let line = first?.(row as Record<string, unknown>) ?? "";
    for (const cell of others) line += `,${cell(row as Record<string, unknown>)}`;
    return `${line}\r\n`;
  };
}
