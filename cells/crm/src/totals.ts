import { fieldAccess, type Presenter, type RequestContext } from "@cell/cell";
import { z } from "zod";

/** The schema of totals by currency: currencies are never added together. */
export function totalsResponse(total: Presenter) {
  return z.object({ byCurrency: z.array(total.responseSchema) }).meta({ description: "Over all matches, not only the page" });
}

/** Totals as their caller may see them: sums reveal less than rows, so they are masked as in the detail response. */
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
