import { type FieldType, mask } from "@cell/cell";
import { copiedText, isoTime } from "@cell/postgres";
import { csvCell, csvText } from "../csv.ts";
import { type CsvOptions, csvPieces } from "./csv.ts";

export interface CopiedOptions extends CsvOptions {
  /** The types of fields that are no text. */
  types: Readonly<Record<string, FieldType | "json">>;
}

/** A CSV file in pieces, out of rows as `copy` reads them: for a million of them. Masked as their lists are. */
export function copiedCsvFile(copied: AsyncGenerator<string[]>, options: CopiedOptions): AsyncGenerator<string> {
  let line: (row: string) => string = () => "";
  async function* rows(): AsyncGenerator<string[]> {
    const columns = await copied.next();
    if (columns.done) return;
    line = lineOf(columns.value, options);
    yield* copied;
  }
  return csvPieces(rows(), (row) => line(row), options);
}

/** How a row is written: worked out once for the file, since there may be a million. */
function lineOf(columns: readonly string[], options: CopiedOptions): (row: string) => string {
  const cells = options.resource.fields.map((field) => ({ at: columns.indexOf(field), write: cellOf(field, options) }));
  return (row) => {
    const values = row.split("\t");
    let line = "";
    for (let index = 0; index < cells.length; index++) {
      const { at, write } = cells[index] as (typeof cells)[number];
      const value = at < 0 ? "" : (values[at] as string);
      if (index > 0) line += ",";
      if (value !== "\\N") line += write(value);
    }
    return `${line}\r\n`;
  };
}

/** What may need a guard, quotes or to be read at all; nearly no text does. */
const suspicious = /[",\\]|^['=+\-@]/;

/** Texts that stand in a cell as they stand in PostgreSQL's array, but for the separator. */
const plainTexts = /^\{[^"\\;|；'=+\-@{}]+\}$/;

/** How a field's cell of COPY is written as one of CSV. */
function cellOf(field: string, { resource, types, clearance, tenantId }: CopiedOptions): (cell: string) => string {
  if (field === "tenantId") return () => csvText(tenantId);
  const kind = resource.sensitive[field];
  if (kind && !clearance.clear.has(kind) && !clearance.revealed.has(field)) return (cell) => csvCell(mask(kind, copiedText(cell)));
  switch (types[field]) {
    case "uuid":
    case "integer":
      return (cell) => cell;
    case "boolean":
      return (cell) => (cell === "t" ? "true" : "false");
    case "time":
      return isoTime;
    case "json":
      return (cell) => (cell === "{}" ? "" : csvCell(JSON.parse(copiedText(cell) ?? "null")));
    case "texts":
      return (cell) =>
        cell === "{}" ? "" : plainTexts.test(cell) ? cell.slice(1, -1).replaceAll(",", ";") : csvCell(readTexts(copiedText(cell) ?? ""));
    default:
      return (cell) => (suspicious.test(cell) ? csvCell(copiedText(cell)) : cell);
  }
}

/** The texts of an array as PostgreSQL writes it: `{plain,"with, comma"}`. */
function readTexts(literal: string): string[] {
  const texts = literal.slice(1, -1);
  if (!texts.includes('"')) return texts.split(",");
  return (texts.match(/"(?:[^"\\]|\\[\s\S])*"|[^,]+/g) ?? []).map((text) =>
    text.startsWith('"') ? text.slice(1, -1).replace(/\\([\s\S])/g, "$1") : text,
  );
}
