import { type Parameters, type Statement, statement, type TenantDb } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db, type StageType } from "../tables.ts";

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
}

/** What every report asks: the opportunities of a pipeline as they were at a moment. */
export interface Question {
  pipelineId: string;
  /** Only what this user owned then; null for everybody's. */
  visibleTo: string | null;
  ownerId: string | null;
  currency: string | null;
  asOf: string;
  /** The pipeline's stages: the n-th is bit n of a mask. */
  stages: string[];
  /** Their positions in the pipeline. */
  positions: number[];
}

interface Between {
  from: string;
  to: string;
}

export type Grouping = "none" | "owner" | "month";
type Grouped = Question & Between & { bounds: string[] };

const allStages = statement((p: Parameters<{ pipelineId: string | null }>) =>
  db
    .selectFrom("pipelines")
    .innerJoin("pipelineStages", "pipelineStages.pipelineId", "pipelines.pipelineId")
    .select(["pipelines.pipelineId", "stage", "pipelineStages.name", "type", "active"])
    // Those after a removed one have moved up: it lies before the one that has its place now.
    .select(sql<number>`(position - case when active then 0 else 0.5 end)::float8`.as("position"))
    .select(sql<number>`probability::float8`.as("probability"))
    .where(sql<boolean>`case when ${p.pipelineId}::uuid is null then is_default else pipelines.pipeline_id = ${p.pipelineId}::uuid end`)
    .orderBy("active", "desc")
    .orderBy("position")
    // As many as a mask has bits: of stages that were removed long ago, one may be missing.
    .limit(sql.lit(63)),
);

// Planned afresh at each run, for the moment, the window and the filters that are asked for.
const once = { keep: false };
const history = sql`(partition by opportunity_id order by seq)`;
const bitOf = (p: Parameters<Question>) => sql`(array_position(${p.stages}::text[], stage) - 1)`;
const positionOf = (p: Parameters<Question>, stage: RawBuilder<unknown>) =>
  sql`(${p.positions}::float8[])[array_position(${p.stages}::text[], ${stage})]`;
const epoch = (span: RawBuilder<unknown>) => sql<string>`extract(epoch from ${span})`;
const count = sql<number>`count(*)`;

/** The opportunities that have not changed since the moment: what they were then is what they are. */
const unchanged = (p: Parameters<Question>) =>
  db
    .selectFrom("opportunities")
    .select(["opportunityId", "pipelineId", "stage", "status as stageType", "amount", "currency", "probability"])
    .select(["expectedCloseDate", "closedAt", "ownerId", "createdAt", "stageEnteredAt as enteredAt"])
    .where("deletedAt", "is", null)
    .where(sql<boolean>`updated_at <= ${p.asOf}::timestamptz`);

/** The others, out of their history up to the moment. */
const changedSince = (p: Parameters<Question>) =>
  db
    .selectFrom(
      db
        .selectFrom("opportunityHistory")
        .select(["opportunityId", "pipelineId", "stage", "stageType", "amount", "currency", "probability"])
        .select(["expectedCloseDate", "closedAt", "ownerId", "deleted"])
        .select([
          sql<string>`first_value(at) over ${history}`.as("createdAt"),
          sql<string>`max(at) filter (where moved) over ${history}`.as("enteredAt"),
          sql<boolean>`lead(seq) over ${history} is null`.as("isLast"),
        ])
        .where(sql<boolean>`at <= ${p.asOf}::timestamptz`)
        .where(
          "opportunityId",
          "in",
          db.selectFrom("opportunities").select("opportunityId").where(sql<boolean>`updated_at > ${p.asOf}::timestamptz`),
        )
        .as("past"),
    )
    .select(["opportunityId", "pipelineId", "stage", "stageType", "amount", "currency", "probability"])
    .select(["expectedCloseDate", "closedAt", "ownerId", "createdAt", "enteredAt"])
    .where(sql<boolean>`is_last and not deleted`);

/** The opportunities that were there at the moment, as they were then. */
const everywhere = (p: Parameters<Question>) =>
  db
    .selectFrom(unchanged(p).unionAll(changedSince(p)).as("state"))
    .where(sql<boolean>`(${p.visibleTo}::text is null or owner_id = ${p.visibleTo})`)
    .where(sql<boolean>`(${p.ownerId}::text is null or owner_id = ${p.ownerId})`)
    .where(sql<boolean>`(${p.currency}::text is null or currency = ${p.currency})`);

/** Those of them that were in the pipeline. */
const states = (p: Parameters<Question>) => everywhere(p).where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid`);

const stageSums = statement(
  (p: Parameters<Question & { stuckBefore: string; today: string }>) =>
    states(p)
      .select(["stage", "stageType", "currency"])
      .select([
        count.as("count"),
        sql<string>`sum(amount)`.as("amount"),
        sql<string>`sum(amount * probability)`.as("weighted"),
        epoch(sql`sum(${p.asOf}::timestamptz - created_at)`).as("ageSeconds"),
        epoch(sql`sum(${p.asOf}::timestamptz - entered_at)`).as("stageSeconds"),
        sql<number>`count(*) filter (where entered_at < ${p.stuckBefore}::timestamptz)`.as("stuck"),
        sql<number>`count(*) filter (where expected_close_date < ${p.today}::date)`.as("overdue"),
      ])
      .groupBy(["stage", "stageType", "currency"]),
  once,
);

/** The stages of the pipeline that each opportunity has been in, and the last one of them but for lost ones. */
const ways = (p: Parameters<Question>) =>
  db
    .selectFrom("opportunityHistory")
    .select("opportunityId as wayId")
    .select([
      sql<string | null>`bit_or(1::bigint << ${bitOf(p)})`.as("entered"),
      // The later row wins: its number stands in front of the stage's.
      sql<number | null>`max(seq::bigint * 64 + ${bitOf(p)}) filter (where stage_type <> 'lost') % 64`.as("lastStage"),
    ])
    .where(sql<boolean>`moved and pipeline_id = ${p.pipelineId}::uuid and at <= ${p.asOf}::timestamptz`)
    .groupBy("opportunityId");

const cohortSums = statement(
  (p: Parameters<Question & Between>) =>
    states(p)
      .innerJoin(ways(p).as("way"), "way.wayId", "state.opportunityId")
      .select(["stage", "stageType", "currency", "entered", "lastStage"])
      .select([count.as("count"), sql<string>`sum(amount)`.as("amount")])
      .where(sql<boolean>`created_at >= ${p.from}::timestamptz and created_at < ${p.to}::timestamptz`)
      .groupBy(["stage", "stageType", "currency", "entered", "lastStage"]),
  once,
);

const groupKeys: Record<Grouping, (p: Parameters<Grouped>, at: RawBuilder<unknown>) => RawBuilder<string | null>> = {
  none: () => sql<null>`null::text`,
  owner: () => sql<string>`state.owner_id`,
  month: (p, at) => sql<string>`width_bucket(${at}, ${p.bounds}::timestamptz[])::text`,
};

/** What began and what was closed in the window. */
const eventSums = (grouping: Grouping) =>
  statement(
    (p: Parameters<Grouped>) =>
      states(p)
        .innerJoinLateral(
          sql<{
            kind: "created" | "won" | "lost";
            happenedAt: string;
          }>`(values ('created', created_at), (stage_type, closed_at))`.as<"event">(sql`event(kind, happened_at)`),
          (join) => join.onTrue(),
        )
        .select(["kind", "currency", groupKeys[grouping](p, sql`happened_at`).as("group")])
        .select([count.as("count"), sql<string>`sum(amount)`.as("amount"), epoch(sql`sum(closed_at - created_at)`).as("cycleSeconds")])
        .where(sql<boolean>`happened_at >= ${p.from}::timestamptz and happened_at < ${p.to}::timestamptz`)
        .groupBy(["kind", "currency", sql`3`]),
    once,
  );

/** The arrivals of the window, from an index. */
const arrivals = (p: Parameters<Question & Between>) =>
  db
    .selectFrom("opportunityHistory")
    .where(sql<boolean>`moved and pipeline_id = ${p.pipelineId}::uuid and at <= ${p.asOf}::timestamptz`)
    .where(sql<boolean>`at >= ${p.from}::timestamptz and at < ${p.to}::timestamptz`);

/** The arrivals of the window with their departures up to the moment. */
const stays = (p: Parameters<Grouped>, grouping: Grouping) =>
  everywhere(p)
    .innerJoin(
      db
        .selectFrom("opportunityHistory")
        .select(["opportunityId as stayId", "pipelineId as stayPipeline", "stage as stayStage", "stageType as stayType", "at"])
        .select([
          sql<string | null>`lead(at) over ${history}`.as("nextAt"),
          sql<string | null>`lead(pipeline_id) over ${history}`.as("nextPipeline"),
          sql<string | null>`lead(stage) over ${history}`.as("nextStage"),
          sql<string | null>`lead(stage_type) over ${history}`.as("nextType"),
        ])
        .where(sql<boolean>`moved and at <= ${p.asOf}::timestamptz`)
        .where("opportunityId", "in", arrivals(p).select("opportunityId"))
        .as("stay"),
      "stay.stayId",
      "state.opportunityId",
    )
    .select(["stayId", "stayStage as stage", groupKeys[grouping](p, sql`at`).as("group")])
    .select([
      epoch(sql`next_at - at`).as("seconds"),
      sql<string>`case when next_at is null then 'still' when next_pipeline <> stay_pipeline then 'movedPipeline'
        when next_type = 'lost' then 'lost'
        when next_type = 'won' or ${positionOf(p, sql`next_stage`)} > ${positionOf(p, sql`stay_stage`)} then 'advanced' else 'regressed' end`.as(
        "outcome",
      ),
    ])
    .where(sql<boolean>`stay_pipeline = ${p.pipelineId}::uuid and stay_type = 'open'`)
    .where(sql<boolean>`at >= ${p.from}::timestamptz and at < ${p.to}::timestamptz`);

const staySums = (grouping: Grouping) =>
  statement(
    (p: Parameters<Grouped>) =>
      db
        .selectFrom(stays(p, grouping).as("stay"))
        .select(["stage", "group"])
        .select([
          sql<boolean>`grouping(stage, "group") = 0`.as("isGroup"),
          count.as("entries"),
          sql<number>`count(distinct stay_id)`.as("opportunities"),
          ...(["advanced", "lost", "regressed", "movedPipeline", "still"] as const).map((outcome) =>
            sql<number>`count(*) filter (where outcome = ${sql.lit(outcome)})`.as(outcome),
          ),
          sql<string | null>`sum(seconds)`.as("seconds"),
          sql<number | null>`percentile_cont(0.5) within group (order by seconds::float8)`.as("medianSeconds"),
          sql<number | null>`percentile_cont(0.9) within group (order by seconds::float8)`.as("p90Seconds"),
        ])
        .groupBy(sql`grouping sets ((stage), (stage, "group"))`),
    once,
  );

const forecastSums = statement(
  (p: Parameters<Question & { today: string; bounds: string[]; days: string[] }>) =>
    states(p)
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
  once,
);

const customersAt = statement((p: Parameters<Pick<Question, "asOf" | "visibleTo" | "ownerId">>) =>
  db
    .selectFrom("customers")
    .select(count.as("count"))
    .where(sql<boolean>`created_at <= ${p.asOf}::timestamptz and coalesce(deleted_at > ${p.asOf}::timestamptz, true)`)
    .where(sql<boolean>`(${p.visibleTo}::text is null or owner_id = ${p.visibleTo})`)
    .where(sql<boolean>`(${p.ownerId}::text is null or owner_id = ${p.ownerId})`),
);

const events = { none: eventSums("none"), owner: eventSums("owner"), month: eventSums("month") };
const staysBy = { none: staySums("none"), owner: staySums("owner"), month: staySums("month") };

type RowsOf<S> = S extends Statement<never, infer Row> ? Row : never;
export type StageSums = RowsOf<typeof stageSums>;
export type CohortSums = RowsOf<typeof cohortSums>;
export type EventSums = RowsOf<(typeof events)["none"]>;
export type StaySums = RowsOf<(typeof staysBy)["none"]>;
export type ForecastSums = RowsOf<typeof forecastSums>;

/** The stages of a pipeline, the live ones first, in their order; of the default one for null. None: there is no such pipeline. */
export function stagesOf(tenant: TenantDb, pipelineId: string | null): Promise<StageRow[]> {
  return tenant.query(allStages, { pipelineId });
}

/** By stage and currency: what was there, how old, how long in its stage, how much of it stuck and overdue. */
export function sumStages(tenant: TenantDb, question: Question & { stuckBefore: string; today: string }) {
  return tenant.query(stageSums, question);
}

/** What was created in the window, by all that a funnel distinguishes. */
export function sumCohort(tenant: TenantDb, question: Question & Between) {
  return tenant.query(cohortSums, question);
}

/** What was created, won and lost in the window. `bounds`: the beginnings of the months, and the window's end. */
export function sumEvents(tenant: TenantDb, grouping: Grouping, question: Grouped) {
  return tenant.query(events[grouping], question);
}

/** What became of the arrivals of the window, by stage in all, and by stage and group. */
export function sumStays(tenant: TenantDb, grouping: Grouping, question: Grouped) {
  return tenant.query(staysBy[grouping], question);
}

/** By bucket (from 1; -1: overdue, -2: undated; 0 and past the last: outside) and currency: what is open and what was won. */
export function sumForecast(tenant: TenantDb, question: Question & { today: string; bounds: string[]; days: string[] }) {
  return tenant.query(forecastSums, question);
}

export async function countCustomers(tenant: TenantDb, question: Pick<Question, "asOf" | "visibleTo" | "ownerId">): Promise<number> {
  return (await tenant.first(customersAt, question))?.count ?? 0;
}
