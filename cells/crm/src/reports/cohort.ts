import { type Parameters, statement, type TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { added, byDay, dayOf, type Later, sumDays } from "./days.ts";
import { type Question, states, type Tense } from "./states.ts";
import { type Between, count, inEachTense, type RowsOf, windowOf, within } from "./sums.ts";
import type { Window } from "./window.ts";

/** What a funnel distinguishes. */
const keys = ["stage", "stageType", "currency", "entered", "lastStage"] as const;
const cohort = (p: Parameters<Question>, tense: Tense) =>
  states(p, tense)
    .select(keys)
    .select([count.as("count"), sql<string>`sum(amount)`.as("amount")])
    .groupBy(keys);

const createdAt = sql<string>`created_at`;
const cohortSums = inEachTense((p: Parameters<Question & Between>, tense) => cohort(p, tense).where(within(createdAt, windowOf(p))));

export type CohortSums = RowsOf<typeof cohortSums>;

/** By the day of creation. */
export const cohortDays = byDay<Question, CohortSums>(
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

/** What was created in the window, by all that a funnel distinguishes. Of what is, whole days are remembered: see `sumDays`. */
export async function cohortOf(tenant: TenantDb, tense: Tense, question: Question, window: Window, later: Later): Promise<CohortSums[]> {
  const between = (from: string, to: string) => tenant.query(cohortSums[tense], { ...question, from, to });
  if (tense === "past") return between(window.from, window.to);
  return added(await sumDays(tenant, cohortDays, question, window, between, later), keys, ["count", "amount"]);
}
