import { setTimeout as sleep } from "node:timers/promises";
import { type Clearance, mask, type Resource } from "@cell/cell";
import { csvCell, csvLine } from "../csv.ts";

const byteOrderMark = "\uFEFF";
/** A client is not kept waiting longer for the first sign of a file. */
const headAfterMs = 10;

export interface CsvOptions<Row extends object> {
  resource: Resource<Row>;
  clearance: Clearance;
  tenantId: string;
  bom: boolean;
  /** After all rows were read, before the last of them leave; or, with `completed` false, after the client left. */
  ended(rows: number, completed: boolean): Promise<void>;
}

/** A CSV file of records in pieces, masked as their lists are. */
export async function* csvFile<Row extends object>(batches: AsyncGenerator<Row[]>, options: CsvOptions<Row>): AsyncGenerator<string> {
  const { resource, bom, ended } = options;
  const line = lineOf(options);
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
function lineOf<Row extends object>({ resource, clearance, tenantId }: CsvOptions<Row>): (row: Row) => string {
  const cells = resource.fields.map((field) => {
    const kind = resource.sensitive[field];
    if (field === "tenantId") return () => csvCell(tenantId);
    if (kind && !clearance.clear.has(kind) && !clearance.revealed.has(field)) return (row: Record<string, unknown>) => csvCell(mask(kind, row[field]));
    return (row: Record<string, unknown>) => csvCell(row[field]);
  });
  return (row) => {
    let text = "";
    for (let index = 0; index < cells.length; index++) {
      if (index > 0) text += ",";
      text += cells[index]?.(row as Record<string, unknown>);
    }
    return `${text}\r\n`;
  };
}
