import type { FieldChange } from "@cell/cell";
import { parseJson } from "@cell/http";
import { badField, badFields, type FieldProblem, Problem } from "@cell/problem";
import { splitList, unguard } from "../csv.ts";
import type { ImportColumn, ImportOptions, RowProblem } from "./importer.ts";

/** Rows up to which the answer waits for the outcome. */
export const synchronousRows = 5_000;
export const mostRows = 1_000_000;
export const mostColumns = 200;
/** Problems that a report holds itself; the others are in its file. */
export const reportedProblems = 100;

export interface Counts {
  created: number;
  updated: number;
  skipped: number;
  failed: number;
}

/** A problem as a report tells it. */
export interface ReportedProblem extends RowProblem {
  /** Counted from 1, without the header. */
  row: number;
  /** Where it begins in the file; null for JSON. */
  line: number | null;
}

const fold = (heading: string) => heading.normalize("NFKC").trim().toLowerCase();

/** The columns of an upload. */
export interface Header {
  headings: readonly string[];
  /** The field of each; undefined for one without a heading, and for an unknown one. */
  fields: readonly (string | undefined)[];
  /** What unknown headings do to every row. */
  problems: readonly RowProblem[];
}

/** Reads a header. Throws BAD_REQUEST for one that names a field twice, has too many columns or no known one. */
export function readHeader(headings: readonly string[], columns: Readonly<Record<string, ImportColumn>>): Header {
  if (headings.length > mostColumns) throw badField("file", "TOO_LONG", `may have at most ${mostColumns} columns`);
  const known = new Map(
    Object.entries(columns).flatMap(([name, { aliases }]) => [name, ...aliases].map((heading) => [fold(heading), name] as const)),
  );
  const fields = headings.map((heading) => known.get(fold(unguard(heading))));
  if (fields.every((field) => field === undefined)) {
    throw badField("file", "INVALID_FORMAT", `needs a header in the first line; known columns: ${Object.keys(columns).join(", ")}`);
  }
  const twice = new Set(fields.filter((field, index) => field !== undefined && fields.indexOf(field) !== index) as string[]);
  if (twice.size > 0)
    throw badFields([...twice].map((path) => ({ path, code: "INVALID_FORMAT", message: "is the heading of two columns" })));
  const unknown = headings.filter((heading, index) => fields[index] === undefined && heading.trim() !== "");
  return { headings, fields, problems: unknown.map(unknownColumn) };
}

/** The item that the cells of a line stand for, an empty cell being no field, with the problems of the line's form. */
export function itemOf(
  cells: readonly string[],
  { headings, fields, problems: unknown }: Header,
  columns: Readonly<Record<string, ImportColumn>>,
): { item: Record<string, unknown>; problems: RowProblem[] } {
  const item: Record<string, unknown> = {};
  const problems = [...unknown];
  for (let index = 0; index < cells.length; index++) {
    const cell = cells[index] as string;
    if (cell === "") continue;
    const field = fields[index];
    const column = field === undefined ? undefined : columns[field];
    if (!column || field === undefined) {
      // A line of a million cells has no million problems.
      if (!headings[index]?.trim() && problems.length < mostColumns)
        problems.push(problem(null, "INVALID_FORMAT", "has a value under no heading: a comma in a value needs quotes around it"));
    } else if (column.form === "text") item[field] = unguard(cell);
    else if (column.form === "list") item[field] = splitList(unguard(cell));
    else {
      const parsed = parseCell(field, cell);
      if ("fault" in parsed) problems.push(parsed.fault);
      else item[field] = parsed.value;
    }
  }
  return { item, problems };
}

/** The value of a cell in JSON, or what is wrong with it. */
function parseCell(field: string, cell: string): { value: unknown } | { fault: RowProblem } {
  try {
    return { value: parseJson(cell) };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const [named] = (error.details?.fields ?? []) as FieldProblem[];
    return { fault: problem(field, "INVALID_FORMAT", named ? `${named.path}: ${named.message}` : "is not well-formed JSON") };
  }
}

export function unknownColumn(field: string): RowProblem {
  return problem(field, "UNKNOWN_COLUMN", "is not a column of this import");
}

export function problem(field: string | null, code: string, message: string, duplicateOf: number | string | null = null): RowProblem {
  return { field, code, message, duplicateOf };
}

/** A field's problem as a row's. A value out of its range is `outOfRange`: of lists that they are too long, of amounts that they are none. */
export function rowProblem({ path, code, message }: FieldProblem, outOfRange: "TOO_LONG" | "INVALID_FORMAT"): RowProblem {
  if (code === "UNKNOWN_FIELD") return unknownColumn(path);
  return problem(path.split(".")[0] || null, code === "OUT_OF_RANGE" ? outOfRange : code, message);
}

/** The problem of a row whose like came before it in the same upload. */
export function duplicateInFile(field: string, firstRow: number): RowProblem {
  return problem(field, "DUPLICATE_IN_FILE", `is the same as in row ${firstRow}`, firstRow);
}

/** What a report counts; an atomic import with a bad row has done nothing. */
export function counted(counts: Counts, total: number, options: Pick<ImportOptions, "atomic">): Counts {
  if (!options.atomic || counts.failed === 0) return counts;
  return { created: 0, updated: 0, skipped: total - counts.failed, failed: counts.failed };
}

/** The problems that a report holds, out of the first failed rows. */
export function reported(rows: readonly { row: number; line: number | null; errors: RowProblem[] }[]): {
  errors: ReportedProblem[];
  errorsTruncated: boolean;
} {
  const all = rows.flatMap(({ row, line, errors }) => errors.map((error) => ({ row, line, ...error })));
  return { errors: all.slice(0, reportedProblems), errorsTruncated: all.length > reportedProblems };
}

/** Options and counts as the changes of the import's own audit entry. */
export function importChanges(told: object): FieldChange[] {
  return Object.entries(told).map(([field, after]) => ({ field, before: null, after: after ?? null }));
}
