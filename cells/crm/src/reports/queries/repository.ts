import { type Parameters, statement, type TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import type { StageType } from "../../pipelines/schema.ts";
import { db } from "../../tables.ts";
import { opportunitiesAsOf, type Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import { count, inEachAsOf, type RowsOf } from "./sql-expressions.ts";

/** A stage of a pipeline, including removed ones. */
export interface StageRow {
  pipelineId: string;
  stage: string;
  name: string;
  type: StageType;
  probability: number;
  /** Position in the order: greater is later. */
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

const forecastSums = inEachAsOf((p: Parameters<Question & ForecastTimes>, asOf) =>
  opportunitiesAsOf(p, asOf)
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

const customersAt = statement(
  (p: Parameters<Pick<Question, "asOf" | "visibleTo" | "ownerId">>) =>
    db
      .selectFrom("customers")
      .select(count.as("count"))
      .where(sql<boolean>`created_at <= ${p.asOf}::timestamptz and coalesce(deleted_at > ${p.asOf}::timestamptz, true)`)
      .where(sql<boolean>`(${p.visibleTo}::text is null or owner_id = ${p.visibleTo})`)
      .where(sql<boolean>`(${p.ownerId}::text is null or owner_id = ${p.ownerId})`),
  { long: true },
);

export type ForecastSums = RowsOf<typeof forecastSums>;

/** The stages of a pipeline, live ones first, in order; null: the default pipeline. Empty: there is no such pipeline. */
export function stagesOf(tenant: TenantDb, pipelineId: string | null): Promise<StageRow[]> {
  return tenant.query(allStages, { pipelineId });
}

/** What a forecast depends on besides the question: today, and its buckets' bounds as times and as days. */
interface ForecastTimes {
  today: string;
  bounds: string[];
  days: string[];
}

/** By bucket (from 1; -1: overdue, -2: undated; 0 and past the last: outside) and currency: what is open and what was won. */
export function sumForecast(reader: ReportReader, times: ForecastTimes): Promise<ForecastSums[]> {
  return reader.readCached(["forecast", times], (asOf) => reader.tenant.query(forecastSums[asOf], { ...reader.question, ...times }));
}

export function countCustomers(tenant: TenantDb, question: Pick<Question, "asOf" | "visibleTo" | "ownerId">): Promise<{ count: number }[]> {
  return tenant.query(customersAt, question);
}
