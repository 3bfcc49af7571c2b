import { fieldAccess, type Presenter, type RequestContext } from "@cell/cell";
import { z } from "zod";

/** The schema of totals by currency: different ones are never added. */
export function totalsResponse(total: Presenter) {
  return z.object({ byCurrency: z.array(total.responseSchema) }).meta({ description: "Over all matches, whatever the page" });
}

/** Totals as their caller may see them: sums tell less than a row does, so they are masked as in the detail. */
export function presentTotals<Row extends object>(
  total: Presenter<Row>,
  rows: readonly (Row & { currency: string })[],
  context: RequestContext,
) {
  const cleared = fieldAccess(context.caller, "detail");
  return {
    totals: { byCurrency: rows.map((row) => total.present(row, cleared, context.tenant.tenantId)) },
  };
}
