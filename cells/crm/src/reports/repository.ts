import { type Parameters, type Statement, statement, type TenantDb } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db, type StageType } from "../tables.ts";
import { type Question, states, type Tense } from "./states.ts";
import { type Between, count, epoch, type Grouped, type Grouping, groupKeys, inEachTense, once, windowOf, within } from "./sums.ts";

/** A stage of a pipeline, removed ones included. */
export interface StageRow {
  pipelineId: string;
  stage: string;
  name: string;
  type: StageType;
  probability: number;
  /** Where it stands on the way: greater is later. */
  position: number;
  active: boolean;
  /** Its bit in a mask. */
  number: number;
}

const allStages = statement((p: Parameters<{ pipelineId: string | null }>) =>
  db
    .selectFrom("pipelines")
    .innerJoin("pipelineStages", "pipelineStages.pipelineId", "pipelines.pipelineId")
    .select(["pipelines.pipelineId", "stage", "pipelineStages.name", "type", "active", "number"])
    // Those after a removed one have moved up: it lies before the one that has its place now.
    .select(sql<number>`(position - case when active then 0 else 0.5 end)::float8`.as("position"))
    .select(sql<number>`probability::float8`.as("probability"))
    .where(sql<boolean>`case when ${p.pipelineId}::uuid is null then is_default else pipelines.pipeline_id = ${p.pipelineId}::uuid end`)
    .orderBy("active", "desc")
    .orderBy("position"),
);

const stageSums = inEachTense((p: Parameters<Question & { stuckBefore: string; today: string }>, tense) =>
  states(p, tense)
    .select(["stage", "currency"])
    .select([
      count.as("count"),
      sql<string>`sum(amount)`.as("amount"),
      sql<string>`sum(amount * probability)`.as("weighted"),
      epoch(sql`sum(${p.asOf}::timestamptz - created_at)`).as("ageSeconds"),
      epoch(sql`sum(${p.asOf}::timestamptz - entered_at)`).as("stageSeconds"),
      sql<number>`count(*) filter (where entered_at < ${p.stuckBefore}::timestamptz)`.as("stuck"),
      sql<number>`count(*) filter (where expected_close_date < ${p.today}::date)`.as("overdue"),
    ])
    .where("stageType", "=", sql.lit("open" as const))
    .groupBy(["stage", "currency"]),
);

const typeCounts = inEachTense((p: Parameters<Question>, tense) =>
  states(p, tense)
    .select(["stageType", count.as("count")])
    .groupBy("stageType"),
);

/** What a funnel distinguishes. */
const cohortKeys = ["stage", "stageType", "currency", "entered", "lastStage"] as const;
const cohort = (p: Parameters<Question>, tense: Tense) =>
  states(p, tense)
    .select(cohortKeys)
    .select([count.as("count"), sql<string>`sum(amount)`.as("amount")])
    .groupBy(cohortKeys);

const cohortSums = inEachTense((p: Parameters<Question & Between>, tense) => cohort(p, tense).where(within(sql`created_at`, windowOf(p))));

// PostgreSQL keeps statistics on this very expression, by which it knows that the days are few.
const createdDay = sql<string>`date_bin('1 day', created_at, timestamptz '2000-01-01 00:00:00+00')`;

const cohortRange = statement(
  (p: Parameters<Question & Between>) =>
    cohort(p, "present")
      .select(createdDay.as("day"))
      .where(within(sql`created_at`, windowOf(p)))
      .groupBy(createdDay),
  once,
);

const cohortDays = statement(
  (p: Parameters<Question & { days: readonly string[] }>) =>
    db
      .selectFrom(sql<{ day: string }>`unnest(${p.days}::timestamptz[])`.as<"days">(sql`days(day)`))
      .innerJoinLateral(
        cohort(p, "present").where(sql<boolean>`created_at >= day and created_at < day + interval '24 hours'`).as("sums"),
        (join) => join.onTrue(),
      )
      .select(["day", ...cohortKeys, "count", "amount"]),
  once,
);

const daysOfIds = statement((p: Parameters<{ ids: readonly string[] }>) =>
  db.selectFrom("opportunities").select(createdDay.as("day")).distinct().where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[])`),
);

type Happening = "created" | "won" | "lost";

/** What began and what was closed in the window. */
const eventSums = (grouping: Grouping) =>
  inEachTense((p: Parameters<Grouped>, tense) => {
    const happened = (kind: RawBuilder<Happening>, at: RawBuilder<unknown>, cycle: RawBuilder<string | null>) =>
      states(p, tense)
        .select([kind.as("kind"), "currency", groupKeys[grouping](p, at).as("group")])
        .select([count.as("count"), sql<string>`sum(amount)`.as("amount"), cycle.as("cycleSeconds")])
        .where(within(at, windowOf(p)))
        .groupBy([sql`1`, "currency", sql`3`]);
    // Each reads a stretch of the index on its own time.
    return happened(sql`'created'`, sql`created_at`, sql`null::numeric`).unionAll(
      happened(sql`stage_type`, sql`closed_at`, epoch(sql`sum(closed_at - created_at)`)),
    );
  });

const forecastSums = inEachTense((p: Parameters<Question & { today: string; bounds: string[]; days: string[] }>, tense) =>
  states(p, tense)
    .select("currency")
    .select([
      sql<number>`case when stage_type = 'won' then width_bucket(closed_at, ${p.bounds}::timestamptz[])
        when expected_close_date < ${p.today}::date then -1 when expected_close_date is null then -2
        else width_bucket(expected_close_date, ${p.days}::date[]) end`.as("bucket"),
      sql<boolean>`stage_type = 'won'`.as("isWon"),
      count.as("count"),
      sql<string>`sum(amount)`.as("amount"),
      sql<string>`sum(amount * probability)`.as("weighted"),
      sql<string>`coalesce(sum(amount) filter (where probability >= 50), 0)`.as("bestCase"),
      sql<string>`coalesce(sum(amount) filter (where probability >= 80), 0)`.as("commit"),
    ])
    .where(sql<boolean>`stage_type <> 'lost'`)
    .groupBy(["currency", sql`2`, sql`3`]),
);

const customersAt = statement((p: Parameters<Pick<Question, "asOf" | "visibleTo" | "ownerId">>) =>
  db
    .selectFrom("customers")
    .select(count.as("count"))
    .where(sql<boolean>`created_at <= ${p.asOf}::timestamptz and coalesce(deleted_at > ${p.asOf}::timestamptz, true)`)
    .where(sql<boolean>`(${p.visibleTo}::text is null or owner_id = ${p.visibleTo})`)
    .where(sql<boolean>`(${p.ownerId}::text is null or owner_id = ${p.ownerId})`),
);

const later = statement((p: Parameters<{ asOf: string }>) =>
  // The last moment stands at the end of an index, wherever the moment asked for lies.
  db.selectFrom("opportunityHistory").select(sql<boolean | null>`max(at) > ${p.asOf}::timestamptz`.as("isLater")),
);

const events = { none: eventSums("none"), owner: eventSums("owner"), month: eventSums("month") };

type RowsOf<S> = S extends Record<Tense, Statement<never, infer Row>> ? Row : never;
export type StageSums = RowsOf<typeof stageSums>;
export type TypeCounts = RowsOf<typeof typeCounts>;
export type CohortSums = RowsOf<typeof cohortSums>;
export type CohortDay = CohortSums & { day: string };
export type EventSums = RowsOf<(typeof events)["none"]>;
export type ForecastSums = RowsOf<typeof forecastSums>;

/** The stages of a pipeline, the live ones first, in their order; of the default one for null. None: there is no such pipeline. */
export function stagesOf(tenant: TenantDb, pipelineId: string | null): Promise<StageRow[]> {
  return tenant.query(allStages, { pipelineId });
}

/** By stage and currency: what was open, how old, how long in its stage, how much of it stuck and overdue. */
export function sumStages(tenant: TenantDb, tense: Tense, question: Question & { stuckBefore: string; today: string }) {
  return tenant.query(stageSums[tense], question);
}

/** How many were open, won and lost. */
export function countTypes(tenant: TenantDb, tense: Tense, question: Question) {
  return tenant.query(typeCounts[tense], question);
}

/** What was created in the window, by all that a funnel distinguishes. */
export function sumCohort(tenant: TenantDb, tense: Tense, question: Question & Between) {
  return tenant.query(cohortSums[tense], question);
}

/** The same of what there is, by the beginning of the day of its creation, in UTC: from the first day on, up to but without the last. */
export function sumCohortRange(tenant: TenantDb, question: Question & Between): Promise<CohortDay[]> {
  return tenant.query(cohortRange, question);
}

/** What `sumCohortRange` asks: its rows are of another kind where this is another text. */
export function cohortShape(): string {
  return cohortRange.compiled.text;
}

/** The same for single days. */
export function sumCohortDays(tenant: TenantDb, question: Question & { days: readonly string[] }): Promise<CohortDay[]> {
  return tenant.query(cohortDays, question);
}

/** The beginnings of the days on which opportunities were created, in UTC. */
export async function createdDaysOf(tenant: TenantDb, ids: readonly string[]): Promise<string[]> {
  return (await tenant.query(daysOfIds, { ids })).map(({ day }) => day);
}

/** What was created, won and lost in the window. */
export function sumEvents(tenant: TenantDb, tense: Tense, grouping: Grouping, question: Grouped) {
  return tenant.query(events[grouping][tense], question);
}

/** By bucket (from 1; -1: overdue, -2: undated; 0 and past the last: outside) and currency: what is open and what was won. */
export function sumForecast(tenant: TenantDb, tense: Tense, question: Question & { today: string; bounds: string[]; days: string[] }) {
  return tenant.query(forecastSums[tense], question);
}

/** Whether anything that reports depend on has changed since a moment. */
export async function hasChangedSince(tenant: TenantDb, asOf: string): Promise<boolean> {
  return (await tenant.first(later, { asOf }))?.isLater === true;
}

export function countCustomers(tenant: TenantDb, question: Pick<Question, "asOf" | "visibleTo" | "ownerId">): Promise<{ count: number }[]> {
  return tenant.query(customersAt, question);
}
