import { type RawBuilder, sql } from "kysely";
import { db } from "../tables.ts";

/** What funnels count by: the stages that an opportunity has been in within its pipeline, and the last one that is not a lost stage. */
export const progressColumns = ["entered", "lastStage"] as const;

interface StageProgress extends Record<(typeof progressColumns)[number], RawBuilder<unknown>> {
  entered: RawBuilder<string>;
  lastStage: RawBuilder<number | null>;
}
type Place = Record<"pipelineId" | "stage" | "status", RawBuilder<unknown>>;

/** A stage's bit; a mask holds the first 63 stages that a pipeline ever had. */
const bit = sql<string>`case when number < 63 then 1::bigint << number else 0 end`;

const stagesIn = (pipelineId: RawBuilder<unknown>) =>
  db.selectFrom("pipelineStages").where(sql<boolean>`pipeline_id = ${pipelineId}::uuid`);

/** Progress of a new opportunity that has passed these stages; each is named once, the current one last. */
export function initialProgress(pipelineId: RawBuilder<unknown>, passed: RawBuilder<unknown>): StageProgress {
  const stages = () => stagesIn(pipelineId).where(sql<boolean>`stage = any(${passed})`);
  return {
    entered: sql`(${stages().select(sql`bit_or(${bit})`.as("entered"))})`,
    lastStage: sql`(${stages()
      .select("number")
      .where("type", "<>", sql.lit("lost" as const))
      .orderBy(sql`array_position(${passed}, stage)`, "desc")
      .limit(sql.lit(1))})`,
  };
}

/**
 * Progress of an opportunity after an update to this stage, even if it was there already. Computed from its history if it enters another
 * pipeline.
 */
export function progressAfter({ pipelineId, stage, status }: Place): StageProgress {
  const here = stagesIn(pipelineId).where(sql<boolean>`stage = ${stage}`);
  const before = db
    .selectFrom("opportunityHistory as move")
    .innerJoin("pipelineStages", (join) =>
      join.onRef("pipelineStages.pipelineId", "=", "move.pipelineId").onRef("pipelineStages.stage", "=", "move.stage"),
    )
    .where(sql<boolean>`move.opportunity_id = opportunities.opportunity_id and move.pipeline_id = ${pipelineId}::uuid and moved`);
  const durations = sql`opportunities.pipeline_id = ${pipelineId}::uuid`;
  const last = before
    .select("number")
    .where("stageType", "<>", sql.lit("lost" as const))
    .orderBy("seq", "desc")
    .limit(sql.lit(1));
  return {
    entered: sql`case when ${durations} then opportunities.entered else (${before.select(sql`coalesce(bit_or(${bit}), 0)`.as("entered"))}) end
      | (${here.select(bit.as("entered"))})`,
    lastStage: sql`case when ${status} <> 'lost' then (${here.select("number")}) when ${durations} then opportunities.last_stage else (${last}) end`,
  };
}

/** The same as named columns of a select. */
export function namedProgress(progress: StageProgress) {
  return [progress.entered.as("entered"), progress.lastStage.as("lastStage")] as const;
}

type Arrival = Record<"opportunityId" | "seq" | "moved" | "pipelineId" | "stage" | "stageType", RawBuilder<unknown>>;

/**
 * When an opportunity that enters an open stage was there last; null if it never was, and for rows that are not arrivals. Uses the stored
 * history and `unstored`, the rows of the same statement.
 */
export function arrivedBefore(
  { opportunityId, seq, moved, pipelineId, stage, stageType }: Arrival,
  unstored: RawBuilder<unknown> = sql`null`,
) {
  const stored = db
    .selectFrom("opportunityHistory as earlier")
    .select(sql<string | null>`max(earlier.at)`.as("at"))
    .where(sql<boolean>`earlier.opportunity_id = ${opportunityId} and earlier.pipeline_id = ${pipelineId} and earlier.stage = ${stage}`)
    .where(sql<boolean>`earlier.stage_type = 'open' and earlier.moved`);
  return sql<string | null>`case when ${seq} > 1 and ${moved} and ${stageType} = 'open' then coalesce(${unstored}, (${stored})) end`;
}
