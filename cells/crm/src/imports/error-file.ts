import { csvLine, plainCell, type RequestContext, readableKinds } from "@cell/cell";
import * as failedRows from "./failed-rows.ts";
import { FailedRowView } from "./hidden.ts";
import type { Importer } from "./importer.ts";
import type * as imports from "./repository.ts";

/** The failed rows of an import with their errors, as far as the caller may read them, as a CSV file in pieces. */
export async function* errorFile(
  context: RequestContext,
  { columns, sensitive }: Importer,
  job: imports.Import,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const view = new FailedRowView({ headings: job.columns, columns, sensitive }, readableKinds(context.caller));
  const places = job.columns.flatMap((heading, index) => (heading === "errors" ? [] : index));
  yield `\uFEFF${csvLine([...places.map((index) => view.heading(job.columns[index] ?? "")), "errors"])}`;
  for await (const rows of failedRows.stream(context.tenant.reader(), job.importId, signal)) {
    yield rows
      .map(({ cells: stored, errors }) => {
        if (stored === false) return "";
        const recorded = errors.map(({ field, code, message }) => `${view.heading(field ?? "row")}: ${code} ${message}`).join(" | ");
        const shown = view.cells(cellsOf(stored, job.columns));
        return csvLine([...places.map((index) => shown[index] ?? ""), recorded]);
      })
      .join("");
  }
}

/** The cells of a failed row; an item has one for each heading. */
function cellsOf(stored: readonly string[] | Readonly<Record<string, unknown>>, headings: readonly string[]): readonly string[] {
  return Array.isArray(stored) ? stored : headings.map((heading) => plainCell((stored as Record<string, unknown>)[heading]));
}
