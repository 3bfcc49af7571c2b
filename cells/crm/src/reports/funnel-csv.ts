import { csvLine } from "@cell/cell";

const stageColumns = [
  "stageId",
  "name",
  "entries",
  "opportunities",
  "advanced",
  "lost",
  "regressed",
  "movedPipeline",
  "still",
  "advanceRate",
  "avgDays",
  "medianDays",
  "p90Days",
] as const;
const totalColumns = [
  "created",
  "won",
  "wonAmount",
  "lostAmount",
  "winRate",
  "winRateByAmount",
  "avgSalesCycleDays",
  "salesVelocity",
] as const;

interface Part {
  stages: object[];
  totals: object;
}

const total = { stageId: "total" };

/**
 * A funnel report as a file for spreadsheets: in each group one line per stage, and a line `total` with created, won and lost
 * opportunities. `lost` counts lost arrivals in a stage, and lost opportunities in a total.
 */
export function funnelCsv(report: Part & { currency: string | null; groups: (Part & { group: string })[] | null }): string {
  const columns = ["group", ...stageColumns, ...totalColumns, "currency"];
  const linesOf = ({ stages, totals }: Part, group: string | null) =>
    [...stages, { ...total, ...totals }].map((row) => {
      const cells: Record<string, unknown> = { ...row, group, currency: report.currency };
      return csvLine(columns.map((column) => cells[column]));
    });
  return ["\uFEFF", csvLine(columns), ...linesOf(report, null), ...(report.groups ?? []).flatMap((part) => linesOf(part, part.group))].join(
    "",
  );
}
