import { type Parameters, statement } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import { aggregateByDay, dayOf, mergeTotals, sumWindow } from "./daily-aggregates.ts";
import { type AsOf, opportunitiesAsOf, type Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import { count, inEachAsOf, type RowsOf, windowOf, within } from "./sql-expressions.ts";

/** The columns that a funnel groups by. */
const keys = ["stage", "stageType", "currency", "entered", "lastStage"] as const;
const cohort = (p: Parameters<Question>, asOf: AsOf) =>
  opportunitiesAsOf(p, asOf)
    .select(keys)
    .select([count.as("count"), sql<string>`sum(amount)`.as("amount")])
    .groupBy(keys);

const createdAt = sql<string>`created_at`;
const cohortSums = inEachAsOf((p: Parameters<Question & Window>, asOf) => cohort(p, asOf).where(within(createdAt, windowOf(p))));

export type CohortSums = RowsOf<typeof cohortSums>;

/** By the day of creation. */
export const cohortDays = aggregateByDay<Question, CohortSums>(
  createdAt,
  (p) => cohort(p, "present"),
  statement((p) =>
    db
      .selectFrom("opportunities")
      .select(dayOf(createdAt).as("day"))
      .distinct()
      .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[])`),
  ),
);

/** What was created in the window, by all that a funnel distinguishes. */
export function cohortOf(reader: ReportReader, window: Window): Promise<CohortSums[]> {
  return reader.readCached(["cohort", window], (asOf) => readCohort(reader, asOf, window));
}

/** The same, read now. Whole days of the present are cached: see `sumWindow`. */
export async function readCohort(reader: ReportReader, asOf: AsOf, window: Window): Promise<CohortSums[]> {
  const { tenant, question } = reader;
  const between = (from: string, to: string) => tenant.query(cohortSums[asOf], { ...question, from, to });
  if (asOf === "past") return between(window.from, window.to);
  return mergeTotals(await sumWindow(reader, cohortDays, question, window, between), keys, ["count", "amount"]);
}
