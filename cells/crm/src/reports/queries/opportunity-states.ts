import type { Parameters } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import type { StageType } from "../../pipelines/schema.ts";
import { db } from "../../tables.ts";

/** Parameters of every report: a pipeline's opportunities at a moment. */
export interface Question {
  pipelineId: string;
  /** Only opportunities that this user owns now, since visibility is always the current one; null: all. */
  visibleTo: string | null;
  ownerId: string | null;
  currency: string | null;
  asOf: string;
  /** The pipeline's stages by number: the n-th is bit n of a mask. */
  stages: string[];
  /** Their positions in the pipeline. */
  positions: number[];
}

/** Whether a report uses current or historical data: current data are in the opportunities themselves. */
export type AsOf = "present" | "past";

const bitOf = (p: Parameters<Question>) => sql`(array_position(${p.stages}::text[], stage) - 1)`;

/** An opportunity at a moment. */
interface OpportunityState {
  opportunityId: string;
  pipelineId: string;
  stage: string;
  stageType: StageType;
  amount: string;
  currency: string;
  probability: string;
  expectedCloseDate: string | null;
  closedAt: string | null;
  ownerId: string;
  createdAt: string;
  enteredAt: string;
  /** The stages of its pipeline that it had been in, as a mask of their numbers; null if it had been in none. */
  entered: string | null;
  lastStage: number | null;
  presentOwnerId: string;
}

/** The current opportunities. */
const current = () =>
  db
    .selectFrom("opportunities")
    .select(["opportunityId", "pipelineId", "stage", "amount", "currency", "probability"])
    .select(["status as stageType", "expectedCloseDate", "closedAt", "ownerId", "createdAt"])
    .select(["stageEnteredAt as enteredAt", "entered", "lastStage", "ownerId as presentOwnerId"])
    .where("deletedAt", "is", null)
    .$castTo<OpportunityState>();

/** The rows of an opportunity's history up to the moment. */
const historyOf = (p: Parameters<Question>) =>
  db
    .selectFrom("opportunityHistory")
    .where(sql<boolean>`opportunity_history.opportunity_id = opportunities.opportunity_id`)
    .where(sql<boolean>`at <= ${p.asOf}::timestamptz`);

const isMove = (p: Parameters<Question>) => sql`moved and pipeline_id = ${p.pipelineId}::uuid`;

/** Reconstructs opportunities that have changed since the moment from their history. */
const reconstructed = (p: Parameters<Question>) =>
  db
    .selectFrom("opportunities")
    .innerJoinLateral(
      historyOf(p)
        .select([
          "pipelineId",
          "stage",
          "amount",
          "currency",
          "probability",
          "stageType",
          "expectedCloseDate",
          "closedAt",
          "ownerId",
          "deleted",
        ])
        .orderBy("seq", "desc")
        .limit(1)
        .as("last"),
      (join) => join.onTrue(),
    )
    .innerJoinLateral(
      historyOf(p)
        .select([
          sql<string>`max(at) filter (where moved)`.as("enteredAt"),
          sql<string | null>`bit_or(case when ${bitOf(p)} < 63 then 1::bigint << ${bitOf(p)} end) filter (where ${isMove(p)})`.as(
            "entered",
          ),
          // The later row wins: its number precedes the stage's.
          sql<
            number | null
          >`(max(seq::bigint * 1024 + ${bitOf(p)}) filter (where ${isMove(p)} and stage_type <> 'lost') % 1024)::smallint`.as("lastStage"),
        ])
        .as("way"),
      (join) => join.onTrue(),
    )
    .select(["opportunities.opportunityId", "last.pipelineId", "last.stage", "last.amount", "last.currency", "last.probability"])
    .select(["last.stageType", "last.expectedCloseDate", "last.closedAt", "last.ownerId", "opportunities.createdAt"])
    .select(["way.enteredAt", "way.entered", "way.lastStage", "opportunities.ownerId as presentOwnerId"])
    .where(sql<boolean>`updated_at > ${p.asOf}::timestamptz and created_at <= ${p.asOf}::timestamptz`)
    .where("last.deleted", "=", false);

const ofAsOf: Record<AsOf, (p: Parameters<Question>) => ReturnType<typeof current>> = {
  present: current,
  past: (p) => current().where(sql<boolean>`updated_at <= ${p.asOf}::timestamptz`).unionAll(reconstructed(p)),
};

const matches = (given: RawBuilder<string | null>, column: RawBuilder<unknown>) =>
  sql<boolean>`(${given}::text is null or ${column} = ${given})`;

/** The question's opportunities in all pipelines. */
export const allPipelines = (p: Parameters<Question>, asOf: AsOf) =>
  db
    .selectFrom(ofAsOf[asOf](p).as("state"))
    .where(matches(p.visibleTo, sql`present_owner_id`))
    .where(matches(p.ownerId, sql`owner_id`))
    .where(matches(p.currency, sql`currency`));

/** The opportunities that were in the pipeline. */
export const opportunitiesAsOf = (p: Parameters<Question>, asOf: AsOf) =>
  allPipelines(p, asOf).where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid`);
