import { setTimeout as sleep } from "node:timers/promises";
import { isoTime } from "@cell/postgres";
import type { FieldType } from "../lists/field-types.ts";
import { type FieldAccess, isMasked, mask } from "../schema/masking.ts";
import { formatMoney } from "../schema/money.ts";
import type { Resource } from "../schema/resource.ts";
import { type CellForm, CsvRewriter, type RewrittenColumn } from "./copy-rewriter.ts";
import { csvCell, csvLine, csvText } from "./csv.ts";

const byteOrderMark = "\uFEFF";
/** Time limit of the first byte of a file. */
const headAfterMs = 10;

type CopiedResource = Pick<Resource, "fields" | "sensitive" | "amounts">;

export interface CopiedOptions {
  resource: CopiedResource;
  /** The types of fields other than texts. */
  types: Readonly<Record<string, FieldType | "json">>;
  fieldAccess: FieldAccess;
  tenantId: string;
  bom: boolean;
  /** Called after all rows were read, before the last of them are sent; or with `completed` false after the client has left. */
  ended(rows: number, completed: boolean): Promise<void>;
}

/** The fields that `copiedCsvFile` needs, in this order: those that are columns, then the currency if amounts are shown. */
export function copiedFields(resource: CopiedResource, fieldAccess: FieldAccess): string[] {
  const columns = resource.fields.filter((field) => field !== "tenantId");
  return showsAmounts(resource, fieldAccess) ? ["currency", ...columns] : columns;
}

function showsAmounts({ sensitive, amounts }: CopiedResource, fieldAccess: FieldAccess): boolean {
  return [...amounts].some((field) => !isMasked(fieldAccess, field, sensitive[field] ?? "amount"));
}

/** A CSV file in pieces, from the `copiedFields` that `copy` reads: for a million rows. Masked like their lists. */
export async function* copiedCsvFile(copied: AsyncGenerator<Buffer>, options: CopiedOptions): AsyncGenerator<string | Buffer> {
  const { resource, bom, ended } = options;
  const rewriter = rewriterOf(options);
  let completed = false;
  try {
    let next = ahead(copied);
    // An immediate error is still sent as an error response; slower rows follow the header.
    await Promise.race([next, sleep(headAfterMs)]);
    yield (bom ? byteOrderMark : "") + csvLine(resource.fields);
    let held: Buffer | undefined;
    for (let chunk = await next; !chunk.done; chunk = await next) {
      if (held) yield held;
      held = rewriter.rewrite(chunk.value);
      next = ahead(copied);
    }
    await ended(rewriter.rows, true);
    completed = true;
    if (held) yield held;
  } finally {
    await copied.return(undefined);
    if (!completed) await ended(rewriter.rows, false);
  }
}

/** Requests the next chunk early. Its rejection is handled, because the consumer may have left. */
function ahead<T>(copied: AsyncGenerator<T>): Promise<IteratorResult<T>> {
  const next = copied.next();
  next.catch(() => undefined);
  return next;
}

/** How rows are written; computed once for the file. */
function rewriterOf(options: CopiedOptions): CsvRewriter {
  const columns: RewrittenColumn[] = [];
  const currency = { ofRow: "" };
  // The amounts of a row depend on its currency, which COPY sends first; it has no cell of its own.
  if (showsAmounts(options.resource, options.fieldAccess)) columns.push({ form: (code) => setCurrency(currency, code), before: "" });
  let before = "";
  for (const field of options.resource.fields) {
    if (field === "tenantId") before += csvText(options.tenantId);
    else {
      columns.push({ ...formOf(field, options, currency), before });
      before = "";
    }
    before += ",";
  }
  return new CsvRewriter(columns, `${before.slice(0, -1)}\r\n`);
}

interface Currency {
  ofRow: string;
}

function setCurrency(currency: Currency, code: string): string {
  currency.ofRow = code;
  return "";
}

/** How a field's cells are written. */
function formOf(
  field: string,
  { resource, types, fieldAccess }: CopiedOptions,
  currency: Currency,
): { form: CellForm; otherwise?: (value: string) => string } {
  const kind = resource.sensitive[field];
  if (kind && isMasked(fieldAccess, field, kind)) return { form: (value) => csvCell(mask(kind, value)) };
  if (resource.amounts.has(field)) return { form: (value) => formatMoney(value, currency.ofRow) };
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

/** Parses a PostgreSQL array literal: `{plain,"with, comma"}`. */
function readTexts(literal: string): string[] {
  const texts = literal.slice(1, -1);
  if (!texts.includes('"')) return texts === "" ? [] : texts.split(",");
  return (texts.match(/"(?:[^"\\]|\\[\s\S])*"|[^,]+/g) ?? []).map((text) =>
    text.startsWith('"') ? text.slice(1, -1).replace(/\\([\s\S])/g, "$1") : text,
  );
}
