import { setTimeout as sleep } from "node:timers/promises";
import { type Clearance, type FieldType, isHidden, mask, type Resource } from "@cell/cell";
import { isoTime } from "@cell/postgres";
import { csvCell, csvLine, csvText } from "../csv.ts";
import { type CellForm, CsvRewriter, type RewrittenColumn } from "./rewriter.ts";

const byteOrderMark = "\uFEFF";
/** A client is not kept waiting longer for the first sign of a file. */
const headAfterMs = 10;

export interface CopiedOptions {
  resource: Pick<Resource, "fields" | "sensitive">;
  /** The types of fields that are no text. */
  types: Readonly<Record<string, FieldType | "json">>;
  clearance: Clearance;
  tenantId: string;
  bom: boolean;
  /** After all rows were read, before the last of them leave; or, with `completed` false, after the client left. */
  ended(rows: number, completed: boolean): Promise<void>;
}

/** The fields of a resource that are columns: what `copiedCsvFile` expects to be read, in this order. */
export function copiedFields({ fields }: Pick<Resource, "fields">): string[] {
  return fields.filter((field) => field !== "tenantId");
}

/** A CSV file in pieces, out of the `copiedFields` as `copy` reads them: for a million rows. Masked as their lists are. */
export async function* copiedCsvFile(copied: AsyncGenerator<Buffer>, options: CopiedOptions): AsyncGenerator<string | Buffer> {
  const { resource, bom, ended } = options;
  const rewriter = rewriterOf(options);
  let completed = false;
  try {
    let next = copied.next();
    // A refusal that comes at once is still told as one; rows that take longer follow the header.
    await Promise.race([next, sleep(headAfterMs)]);
    yield (bom ? byteOrderMark : "") + csvLine(resource.fields);
    let held: Buffer | undefined;
    for (let chunk = await next; !chunk.done; chunk = await next) {
      if (held) yield held;
      held = rewriter.rewrite(chunk.value);
      next = copied.next();
    }
    await ended(rewriter.rows, true);
    completed = true;
    if (held) yield held;
  } finally {
    await copied.return(undefined);
    if (!completed) await ended(rewriter.rows, false);
  }
}

/** How rows are written: worked out once for the file. */
function rewriterOf(options: CopiedOptions): CsvRewriter {
  const columns: RewrittenColumn[] = [];
  let before = "";
  for (const field of options.resource.fields) {
    if (field === "tenantId") before += csvText(options.tenantId);
    else {
      columns.push({ ...formOf(field, options), before });
      before = "";
    }
    before += ",";
  }
  return new CsvRewriter(columns, `${before.slice(0, -1)}\r\n`);
}

/** How a field's cells are written. */
function formOf(field: string, { resource, types, clearance }: CopiedOptions): { form: CellForm; otherwise?: (value: string) => string } {
  const kind = resource.sensitive[field];
  if (kind && isHidden(clearance, field, kind)) return { form: (value) => csvCell(mask(kind, value)) };
  switch (types[field]) {
    case "uuid":
    case "integer":
      return { form: "plain" };
    case "boolean":
      return { form: (value) => (value === "t" ? "true" : "false") };
    case "time":
      return { form: "time", otherwise: isoTime };
    case "json":
      return { form: (value) => (value === "{}" ? "" : csvCell(JSON.parse(value))) };
    case "texts":
      return { form: "texts", otherwise: (value) => csvCell(readTexts(value)) };
    default:
      return { form: "text" };
  }
}

/** The texts of an array as PostgreSQL writes it: `{plain,"with, comma"}`. */
function readTexts(literal: string): string[] {
  const texts = literal.slice(1, -1);
  if (!texts.includes('"')) return texts === "" ? [] : texts.split(",");
  return (texts.match(/"(?:[^"\\]|\\[\s\S])*"|[^,]+/g) ?? []).map((text) =>
    text.startsWith('"') ? text.slice(1, -1).replace(/\\([\s\S])/g, "$1") : text,
  );
}
