/** What a spreadsheet would evaluate as a formula; also after quotes that an earlier guard added. */
const formula = /^'*[=+\-@\t\r]/;

/** A text that no spreadsheet evaluates as a formula; `unguard` is its inverse. */
export function guard(text: string): string {
  return formula.test(text) ? `'${text}` : text;
}

/** A cell's text without the guarding quote. */
export function unguard(cell: string): string {
  return cell.startsWith("'") && formula.test(cell) ? cell.slice(1) : cell;
}

const special = /[",\r\n]/;

/** A cell as in RFC 4180. */
export function quote(text: string): string {
  return special.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Joins texts in one cell by `;`; `splitList` is its inverse. */
export function joinList(texts: readonly string[]): string {
  if (texts.length === 0) return "";
  return texts.map((text) => text.replace(/[\\;|；]/g, "\\$&")).join(";");
}

/** Splits a cell by `;` or `|`; a backslash escapes the next character, and a trailing one is literal. Drops empty texts. */
export function splitList(cell: string): string[] {
  const parts = cell.match(/(?:\\[\s\S]|\\$|[^\\;|；])+/g) ?? [];
  return parts.map((part) => part.replace(/\\([\s\S])/g, "$1").trim()).filter((part) => part !== "");
}

/** One line of a CSV file: texts are guarded and quoted, lists and objects take one cell each, null is empty. */
export function csvLine(values: readonly unknown[]): string {
  return `${values.map(csvCell).join(",")}\r\n`;
}

/** What may need a guard or quotes; few texts do. */
const suspicious = /[",\r\n]|^['=+\-@\t]/;

/** A text as a cell. */
export function csvText(text: string): string {
  return suspicious.test(text) ? quote(guard(text)) : text;
}

/** A value as a cell. */
export function csvCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return csvText(value);
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return csvText(joinList(value));
  if (typeof value === "object") return Object.keys(value).length === 0 ? "" : quote(JSON.stringify(value));
  return String(value);
}

/** A value as the text of its cell, without quotes. */
export function plainCell(value: unknown): string {
  const cell = csvCell(value);
  return cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
}
