import type { Parameters } from "@cell/postgres";
import { type Expression, type RawBuilder, sql } from "kysely";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import { allPipelines, type Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import { type Bounds, count, epoch, type Grouped, type Grouping, groupKeys, inEachAsOf, windowOf, within } from "./sql-expressions.ts";

/** What followed the arrivals in a stage: of all in the window, or of one group. */
export interface StageDurationTotals {
  stage: string;
  /** An owner's id, or a month's number from 1; unused without groups. */
  group: string | null;
  entries: number;
  /** Distinct opportunities that arrived. */
  opportunities: number;
  advanced: number;
  lost: number;
  regressed: number;
  movedPipeline: number;
  still: number;
  /** Total duration of ended stays; null without any. */
  seconds: string | null;
  /** The median and the ninth decile of the same. */
  percentileSeconds: [number, number] | null;
}

const exitNames = ["departures", "advanced", "lost", "movedPipeline", "seconds", "percentileSeconds"] as const;
const sumNames = [...exitNames, "still", "again"] as const;
type Sums = Partial<Record<(typeof sumNames)[number], RawBuilder<unknown>>>;

const named = (sums: Sums, names: readonly (keyof Sums)[]) => names.map((name) => (sums[name] ?? sql`null`).as(name));
const countWhere = (condition: RawBuilder<unknown>) => sql<number>`count(*) filter (where ${condition})`;

/** Computed from columns of these names; `again` counts arrivals that were not the first of their opportunity. */
const figures = [
  ...(["advanced", "lost", "movedPipeline", "still"] as const).map((name) => sql<number>`coalesce(${sql.ref(name)}, 0)`.as(name)),
  sql<number>`coalesce(departures, 0) + coalesce(still, 0)`.as("entries"),
  sql<number>`coalesce(departures, 0) + coalesce(still, 0) - coalesce(again, 0)`.as("opportunities"),
  sql<number>`coalesce(departures - advanced - lost - moved_pipeline, 0)`.as("regressed"),
  sql<StageDurationTotals["seconds"]>`seconds`.as("seconds"),
  sql<StageDurationTotals["percentileSeconds"]>`percentile_seconds`.as("percentileSeconds"),
];

const isKnown = (p: Parameters<Question>, at: string) => sql<boolean>`${sql.ref(at)} <= ${p.asOf}::timestamptz`;

/** The ended stays in open stages of the pipeline that began within a time: each exit has the time of its arrival. */
const stageExits = (p: Parameters<Question>, bounds: Bounds) =>
  db
    .selectFrom("opportunityHistory")
    .where("fromStageType", "=", sql.lit("open" as const))
    .where(sql<boolean>`from_pipeline_id = ${p.pipelineId}::uuid`)
    .where(within(sql`from_entered_at`, bounds));

/** Sums over the exits; `isLater`: the entered stage comes after the one that was left. */
const exitSums = (isLater: RawBuilder<unknown>): Sums => ({
  departures: count,
  advanced: countWhere(sql`pipeline_id = from_pipeline_id and (stage_type = 'won' or stage_type = 'open' and ${isLater})`),
  lost: countWhere(sql`pipeline_id = from_pipeline_id and stage_type = 'lost'`),
  movedPipeline: countWhere(sql`pipeline_id <> from_pipeline_id`),
  seconds: epoch(sql`sum(at - from_entered_at)`),
  // Both from one sort.
  percentileSeconds: sql`percentile_cont(array[0.5, 0.9]) within group (order by date_part('epoch', at - from_entered_at))`,
});

/** The arrivals within a time in open stages of the pipeline that were not their opportunity's first. */
const reEntries = (p: Parameters<Question>, bounds: Bounds) =>
  db
    .selectFrom("opportunityHistory")
    .where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid`)
    .where(within(sql`at`, bounds))
    .where(sql<boolean>`arrived_before_at >= ${bounds.from}`);

/** The stages, each with the stages after it. */
const places = (p: Parameters<Question>) => {
  const stages = sql`unnest(${p.stages}::text[], ${p.positions}::float8[])`;
  return sql<{ stage: string; later: string[] }>`(
    select stage, array(select other.stage from ${stages} as other(stage, position) where other.position > place.position) as later
    from ${stages} as place(stage, position))`;
};

type Sliced = Question & { starts: string[]; ends: string[] };

/** Of all opportunities, by stage and slice of the window; each reads one range of an index. */
const allDurations = inEachAsOf((p: Parameters<Sliced>, asOf) => {
  const bounds = { from: sql`slice.start`, to: sql`slice.stop` };
  const isHistorical = asOf === "past";
  const gone = db
    .selectFrom("opportunities as gone")
    .select("gone.opportunityId")
    .where(sql<boolean>`gone.opportunity_id = opportunity_history.opportunity_id and gone.deleted_at is not null`)
    .$if(isHistorical, (query) => query.where(isKnown(p, "gone.deletedAt")));
  const isThere = sql<boolean>`not exists (${gone})`;
  const left = stageExits(p, bounds).where(sql<boolean>`from_stage = place.stage`).where(isThere);
  const ended = left
    .$if(isHistorical, (query) => query.where(isKnown(p, "at")))
    .select(named(exitSums(sql`stage = any(later)`), exitNames));
  const again = reEntries(p, bounds)
    .where(sql<boolean>`stage = place.stage`)
    .where(isThere)
    .$if(isHistorical, (query) => query.where(isKnown(p, "at")))
    .select(count.as("again"));
  const open = db
    .selectFrom("opportunities")
    .where("status", "=", sql.lit("open" as const))
    .where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid and stage = place.stage`)
    .where(within(sql`stage_entered_at`, bounds))
    .$if(isHistorical, (query) => query.where(isKnown(p, "stageEnteredAt")))
    .select(count.as("still"));
  const now = open.where("deletedAt", "is", null);
  const deletedSince = open.where(sql<boolean>`deleted_at > ${p.asOf}::timestamptz`);
  const leftSince = left.where(isKnown(p, "fromEnteredAt")).where(sql<boolean>`at > ${p.asOf}::timestamptz`).select(count.as("still"));
  const parts = isHistorical ? now.unionAll(deletedSince).unionAll(leftSince) : now;
  const inStage = db.selectFrom(parts.as("part")).select(sql<number>`sum(still)::bigint`.as("still"));
  const slices = sql<{
    start: string;
    stop: string;
    n: number;
  }>`unnest(${p.starts}::timestamptz[], ${p.ends}::timestamptz[]) with ordinality`;
  return db
    .selectFrom(places(p).as("place"))
    .innerJoin(slices.as<"slice">(sql`slice(start, stop, n)`), (join) => join.onTrue())
    .innerJoinLateral(ended.as("ended"), (join) => join.onTrue())
    .innerJoinLateral(inStage.as("there"), (join) => join.onTrue())
    .innerJoinLateral(again.as("returned"), (join) => join.onTrue())
    .select(["place.stage", ...figures])
    .select(sql<string>`n::text`.as("group"))
    .where(sql<boolean>`departures + still > 0`)
    .$castTo<StageDurationTotals>();
});

/** Position of a stage in the pipeline; null for other stages. */
const positionOf = (p: Parameters<Question>, stage: RawBuilder<unknown>) =>
  sql`(${p.positions}::float8[])[array_position(${p.stages}::text[], ${stage})]`;

/** Of a question's opportunities, by stage and group. */
const filteredDurations = (grouping: Grouping) =>
  inEachAsOf((p: Parameters<Grouped>, asOf) => {
    const window = windowOf(p);
    const isHistorical = asOf === "past";
    const owners = () => allPipelines(p, asOf).select(["opportunityId", "ownerId"]).as("state");
    const groupAt = (at: string) => groupKeys[grouping](p, sql.ref(at));
    /** Sums over rows with a `group`, by the column of their stage. */
    const summed = (rows: Expression<unknown>, stage: string, sums: Sums) =>
      db
        .selectFrom(sql<{ group: string | null }>`(${rows})`.as<"stay">(sql`stay`))
        .select([sql.ref<string>(stage).as("stage"), "group", ...named(sums, Object.keys(sums) as (keyof Sums)[])])
        .groupBy(sql`1, 2`);
    const ended = stageExits(p, window)
      .innerJoin(owners(), "state.opportunityId", "opportunityHistory.opportunityId")
      .$if(isHistorical, (query) => query.where(isKnown(p, "at")))
      .select(["fromStage", "at", "fromEnteredAt", "pipelineId", "fromPipelineId", "stage", "stageType"])
      .select(groupAt("fromEnteredAt").as("group"));
    const inStage = allPipelines(p, asOf)
      .where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid and stage_type = 'open'`)
      .where(within(sql`entered_at`, window))
      .select(["stage", groupAt("enteredAt").as("group")]);
    const again = reEntries(p, window)
      .innerJoin(owners(), "state.opportunityId", "opportunityHistory.opportunityId")
      .$if(isHistorical, (query) => query.where(isKnown(p, "at")))
      .select(["stage", groupAt("at").as("group"), groupAt("arrivedBeforeAt").as("groupBefore")]);
    const isLater = sql`${positionOf(p, sql`stage`)} > ${positionOf(p, sql`from_stage`)}`;
    const none = sql`null::bigint`;
    // Each part is planned separately, with all its parallel workers: a combined plan would run the first part in a single process.
    const together = db
      .with(
        (cte) => cte("ended").materialized(),
        () => summed(ended, "fromStage", exitSums(isLater)),
      )
      .with(
        (cte) => cte("present").materialized(),
        () => summed(inStage, "stage", { still: count }),
      )
      // What is no first arrival of the window may be the first one of its group.
      .with(
        (cte) => cte("returned").materialized(),
        () => summed(again, "stage", { again: grouping === "none" ? count : countWhere(sql`group_before = "group"`) }),
      )
      .selectFrom((eb) =>
        eb
          .selectFrom("ended")
          .select(["stage", "group", ...exitNames.map((name) => sql.ref(name).as(name)), none.as("still"), none.as("again")])
          .unionAll(eb.selectFrom("present").select(["stage", "group", ...named({ still: sql`still` }, sumNames)]))
          .unionAll(eb.selectFrom("returned").select(["stage", "group", ...named({ again: sql`again` }, sumNames)]))
          .as("part"),
      )
      .select(["stage", "group"])
      .select(sumNames.map((name) => sql`max(${sql.ref(name)})`.as(name)))
      .groupBy(["stage", "group"]);
    return db
      .selectFrom(together.as("sums"))
      .select(["stage", "group", ...figures])
      .$castTo<StageDurationTotals>();
  });

const durationsBy = { none: filteredDurations("none"), owner: filteredDurations("owner"), month: filteredDurations("month") };

/** What became of the arrivals of the window, by stage and group. `bounds`: those of the months, if the groups are months. */
export function sumStageDurations(
  reader: ReportReader,
  grouping: Grouping,
  window: Window,
  bounds: string[] = [],
): Promise<StageDurationTotals[]> {
  const { tenant, question } = reader;
  const { visibleTo, ownerId, currency } = question;
  const isOfAll = visibleTo === null && ownerId === null && currency === null;
  return reader.readCached(["stays", grouping, bounds, window], (asOf) => {
    if (!isOfAll || grouping === "owner") return tenant.query(durationsBy[grouping][asOf], { ...question, ...window, bounds });
    const [starts, ends] = grouping === "month" ? [bounds.slice(0, -1), bounds.slice(1)] : [[window.from], [window.to]];
    return tenant.query(allDurations[asOf], { ...question, ...window, starts, ends });
  });
}
