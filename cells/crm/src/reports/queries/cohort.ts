import { type Parameters, statement, type TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import { aggregateByDay, dayOf, mergeTotals, type RunInBackground, sumWindow } from "./daily-aggregates.ts";
import { type AsOf, opportunitiesAsOf, type Question } from "./opportunity-states.ts";
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

/** The opportunities created in the window, grouped for a funnel. Current data use cached whole days: see `sumWindow`. */
export async function cohortOf(
  tenant: TenantDb,
  asOf: AsOf,
  question: Question,
  window: Window,
  later: RunInBackground,
): Promise<CohortSums[]> {
  const between = (from: string, to: string) => tenant.query(cohortSums[asOf], { ...question, from, to });
  if (asOf === "past") return between(window.from, window.to);
  return mergeTotals(await sumWindow(tenant, cohortDays, question, window, between, later), keys, ["count", "amount"]);
}
