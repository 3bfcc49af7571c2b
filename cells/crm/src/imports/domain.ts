import type { FieldChange, Resource } from "@cell/cell";
import { splitList, unguard } from "@cell/cell";
import { isInvisible, nameKey, parseJson, trimmed } from "@cell/http";
import { badField, badFields, type FieldProblem, Problem } from "@cell/problem";
import Big from "big.js";
import type { ImportColumn, ImportOptions, RowProblem } from "./importer.ts";

/** Imports up to this size respond with the outcome. */
export const synchronousRows = 5_000;
/** The same of the database rows that they write: a row may bring a stage history of 200. */
export const synchronousWrites = 20_000;
export const mostRows = 1_000_000;
export const mostColumns = 200;
/** Number of problems in a report; its error file has the rest. */
export const reportedProblems = 100;
/** Limit of the reported problems of one row. */
const problemsOfRow = 50;
/** Length limit of a heading: no field's name is longer. */
export const mostHeading = 255;
const mostMessage = 300;

export interface Counts {
  created: number;
  updated: number;
  skipped: number;
  failed: number;
}

/** A problem as in a report. */
export interface ReportedProblem extends RowProblem {
  /** From 1, without the header. */
  row: number;
  /** Line of its beginning in the file; null for JSON. */
  line: number | null;
}

const fold = (heading: string) => (heading.length > mostHeading ? "" : nameKey(heading));

/** The columns of an upload. */
export interface Header {
  headings: readonly string[];
  /** The field of each column; undefined without a heading, and for an unknown one. */
  fields: readonly (string | undefined)[];
  /** Problems of unknown headings, which apply to every row. */
  problems: readonly RowProblem[];
}

/** The field of each heading, by name or alias; undefined if there is none. */
export function fieldsOf(headings: readonly string[], columns: Readonly<Record<string, ImportColumn>>): (string | undefined)[] {
  const known = new Map(
    Object.entries(columns).flatMap(([name, { aliases }]) => [name, ...aliases].map((heading) => [fold(heading), name] as const)),
  );
  return headings.map((heading) => known.get(fold(unguard(heading))));
}

/** Parses a header. Throws BAD_REQUEST if it names a field twice, has too many columns or no known one. */
export function readHeader(headings: readonly string[], columns: Readonly<Record<string, ImportColumn>>): Header {
  if (headings.length > mostColumns) throw badField("file", "TOO_LONG", `may have at most ${mostColumns} columns`);
  if (headings.some((heading) => heading.length > mostHeading))
    throw badField("file", "TOO_LONG", `may have headings of at most ${mostHeading} characters`);
  const fields = fieldsOf(headings, columns);
  if (fields.every((field) => field === undefined)) {
    throw badField("file", "INVALID_FORMAT", `needs a header in the first line; known columns: ${Object.keys(columns).join(", ")}`);
  }
  const twice = new Set(fields.filter((field, index) => field !== undefined && fields.indexOf(field) !== index) as string[]);
  if (twice.size > 0)
    throw badFields([...twice].map((path) => ({ path, code: "INVALID_FORMAT", message: "is the heading of two columns" })));
  const unknown = headings.filter((heading, index) => fields[index] === undefined && heading.trim() !== "");
  return { headings: headings.map(withoutNul), fields, problems: unknown.slice(0, problemsOfRow).map(unknownColumn) };
}

/** The item of a line's cells, where blank cells are missing fields, with the problems of the line's form. */
export function itemOf(
  cells: readonly string[],
  { headings, fields, problems: unknown }: Header,
  columns: Readonly<Record<string, ImportColumn>>,
): { item: Record<string, unknown>; problems: RowProblem[] } {
  const item: Record<string, unknown> = {};
  const problems = unknown.length === 0 ? [] : [...unknown];
  for (let index = 0; index < cells.length; index++) {
    const cell = trimmed(unguard(cells[index] as string));
    if (isInvisible(cell)) continue;
    const field = fields[index];
    const column = field === undefined ? undefined : columns[field];
    if (!column || field === undefined) {
      // Limits the problems of a line with very many cells.
      if (!headings[index]?.trim() && problems.length < problemsOfRow)
        problems.push(problem(null, "INVALID_FORMAT", "has a value without a heading: a comma in a value needs quotes around it"));
      continue;
    }
    const parsed = column.ignored ? noValue : parseCell(cell, column.form);
    if ("fault" in parsed) problems.push(problem(field, "INVALID_FORMAT", parsed.fault));
    else if (parsed.value !== undefined) item[field] = parsed.value;
  }
  return { item, problems };
}

/** The value of a cell, or its fault. */
type ParsedCell = { value: unknown } | { fault: string };

const noValue: ParsedCell = { value: undefined };

function parseCell(cell: string, form: ImportColumn["form"]): ParsedCell {
  switch (form) {
    case "text":
      return { value: cell };
    case "list": {
      const texts = splitList(cell);
      return texts.length === 0 ? noValue : { value: texts };
    }
    case "boolean":
      return parseBoolean(cell);
    case "json":
      return parseJsonCell(cell);
  }
}

/** Booleans that spreadsheets and people write, in lower case. */
const booleans = new Map(
  [
    ["true", "yes", "y", "1", "是", "真"],
    ["false", "no", "n", "0", "否", "假"],
  ].flatMap((words, index) => words.map((word) => [word, index === 0] as const)),
);

function parseBoolean(cell: string): ParsedCell {
  const value = booleans.get(cell.trim().toLowerCase());
  return value === undefined ? { fault: "must be true or false; yes, no, 1, 0, 是 and 否 are also accepted" } : { value };
}

function parseJsonCell(cell: string): ParsedCell {
  try {
    return { value: parseJson(cell) };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const [named] = (error.details?.fields ?? []) as FieldProblem[];
    if (!named) return { fault: 'must be a JSON object such as {"region":"east"}' };
    return { fault: named.path === "" ? named.message : `${named.path}: ${named.message}` };
  }
}

function unknownColumn(field: string): RowProblem {
  return problem(field, "UNKNOWN_COLUMN", "is not a column of this import");
}

export function problem(field: string | null, code: string, message: string, duplicateOf: number | string | null = null): RowProblem {
  return { field, code, message, duplicateOf };
}

/** The problems of a row for storage and reports: limited in number and length. */
export function bounded(problems: readonly RowProblem[]): RowProblem[] {
  const recorded = problems
    .slice(0, problemsOfRow)
    .map((found) => ({ ...found, field: found.field && short(found.field, mostHeading), message: short(found.message, mostMessage) }));
  const more = problems.length - recorded.length;
  return more > 0 ? [...recorded, problem(null, "INVALID_FORMAT", `has ${more} more errors`)] : recorded;
}

function short(text: string, characters: number): string {
  return withoutNul(text.length > characters ? `${text.slice(0, characters)}…` : text);
}

/** Removes NUL and lone surrogates, which PostgreSQL cannot store in JSON. */
export function withoutNul(text: string): string {
  return text.includes("\0") || !text.isWellFormed() ? text.replaceAll("\0", "\uFFFD").toWellFormed() : text;
}

/** Turns a field's problem into a row's. `outOfRange`: the code for values out of range: lists are too long, amounts are invalid. */
export function rowProblem({ path, code, message }: FieldProblem, outOfRange: "TOO_LONG" | "INVALID_FORMAT"): RowProblem {
  if (code === "UNKNOWN_FIELD") return unknownColumn(path);
  return problem(path.split(".")[0] || null, code === "OUT_OF_RANGE" ? outOfRange : code, message);
}

/** The problem of a duplicate of an earlier row in the same upload. */
export function duplicateInFile(field: string, firstRow: number): RowProblem {
  return problem(field, "DUPLICATE_IN_FILE", `is the same as in row ${firstRow}`, firstRow);
}

/** The counts of a report; an atomic import with an invalid row has changed nothing. */
export function counted(counts: Counts, total: number, options: Pick<ImportOptions, "atomic">): Counts {
  if (!options.atomic || counts.failed === 0) return counts;
  return { created: 0, updated: 0, skipped: total - counts.failed, failed: counts.failed };
}

/** The problems of a report, from the first failed rows. */
export function reported(rows: readonly { row: number; line: number | null; errors: RowProblem[] }[]): {
  errors: ReportedProblem[];
  errorsTruncated: boolean;
} {
  const all = rows.flatMap(({ row, line, errors }) => errors.map((error) => ({ row, line, ...error })));
  return { errors: all.slice(0, reportedProblems), errorsTruncated: all.length > reportedProblems };
}

/** The values of a record before changes, as they would be stored: an empty text of an older entry becomes null. */
export function formerValues({ amounts }: Pick<Resource, "amounts">, changes: readonly FieldChange[]): Record<string, unknown> {
  const held = (field: string, before: unknown) => {
    if (before === "") return null;
    return amounts.has(field) && typeof before === "string" ? new Big(before).toFixed() : before;
  };
  return Object.fromEntries(changes.map(({ field, before }) => [field, held(field, before)]));
}

/** Options and counts as the changes of the import's own audit entry. */
export function importChanges(recorded: object): FieldChange[] {
  return Object.entries(recorded).map(([field, after]) => ({ field, before: null, after: after ?? null }));
}
