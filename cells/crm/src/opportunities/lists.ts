import { type Condition, keyword, ListRunner } from "@cell/cell";
import { type RawBuilder, sql } from "kysely";
import { knownPipelines, knownStages } from "../pipelines/known.ts";
import { db } from "../tables.ts";
import { columns, probability } from "./repository.ts";
import { type Opportunity, opportunity, type StageMove, stageMove } from "./schema.ts";
import { historyColumns, opportunityColumns } from "./table.ts";

/** The move that brought the opportunity `state` into the stage of its history row. */
const lastMove = (seq: "state.seq" | "state.historySeq") =>
  db
    .selectFrom("opportunityHistory as move")
    .whereRef("move.opportunityId", "=", sql.ref("state.opportunityId"))
    .whereRef("move.seq", "<=", sql.ref(seq))
    .where(sql<boolean>`move.moved`)
    .orderBy("move.seq", "desc")
    .limit(sql.lit(1));

/** The last stage other than lost of the opportunity `state` in its current pipeline; the first one if it was in none. */
const lastStage = (seq: "state.seq" | "state.historySeq") =>
  sql<string>`coalesce(${lastMove(seq)
    .select("move.stage")
    .whereRef("move.pipelineId", "=", sql.ref("state.pipelineId"))
    .where("move.stageType", "<>", sql.lit("lost" as const))}, ${db
    .selectFrom("pipelineStages")
    .select("stage")
    .whereRef("pipelineStages.pipelineId", "=", sql.ref("state.pipelineId"))
    .orderBy("active", "desc")
    .orderBy("position")
    .limit(sql.lit(1))})`.as("lastStage");

/** The live opportunities. */
const current = () =>
  db
    .selectFrom(
      db
        .selectFrom("opportunities as state")
        .select([...columns, "probability", "search", "ownerId as presentOwnerId"])
        .select(lastStage("state.historySeq"))
        .where("deletedAt", "is", null)
        .as("opportunity"),
    )
    .select(columns)
    .select(probability)
    .$castTo<Opportunity>();

const reconstructed: readonly string[] = [...historyColumns.all, "status", "updatedAt", "stageEnteredAt"];
/** The columns of which only the present value is known. */
const columnsWithoutHistory = opportunityColumns.all.filter((name) => !reconstructed.includes(name));

/** Every state of an opportunity, from `at` until `until`. */
const opportunityStates = () =>
  db
    .selectFrom(
      db
        .selectFrom("opportunityHistory as state")
        .innerJoin("opportunities as kept", "kept.opportunityId", "state.opportunityId")
        .select([
          "state.opportunityId",
          "state.customerId",
          "state.amount",
          "state.currency",
          "state.pipelineId",
          "state.stage",
          "state.stageType as status",
          "state.probability",
          "state.expectedCloseDate",
          "state.ownerId",
          "state.closedAt",
          "state.at as updatedAt",
          "kept.search",
          "kept.ownerId as presentOwnerId",
          "state.at",
        ])
        .select(columnsWithoutHistory.map((name) => `kept.${name}` as const))
        .select((eb) => [
          eb
            .selectFrom("opportunityHistory as next")
            .select("next.at")
            .whereRef("next.opportunityId", "=", "state.opportunityId")
            .whereRef("next.seq", "=", sql`state.seq + 1`)
            .as("until"),
          lastMove("state.seq").select("move.at").as("stageEnteredAt"),
          lastStage("state.seq"),
        ])
        .where(sql<boolean>`not state.deleted`)
        .as("opportunity"),
    )
    .select(columns)
    .select(probability)
    .$castTo<Opportunity>();

/** Selects the opportunities as of a time: all other conditions, and the order, refer to that time. */
export function asOf(time: string): Condition {
  return {
    cacheKey: "asOf",
    values: [time],
    sql: ([given]) => sql<boolean>`(at <= ${given}::timestamptz and (until is null or until > ${given}::timestamptz))`,
    from: opportunityStates,
  };
}

/** A condition that a field has one of several values. */
export function oneOf(field: string, values: readonly string[]): Condition {
  return { cacheKey: `${field}[one of]`, values: [values], sql: ([given]) => sql<boolean>`${sql.ref(field)} = any(${given}::text[])` };
}

/** What followed an arrival: the next stages, `STILL` (in the stage), or `PIPELINE` (moved to another one). */
export type StageExit = readonly string[] | "STILL" | "PIPELINE";

export interface Arrivals {
  pipelineId?: string | undefined;
  /** Arrivals in these stages; default: in any. */
  stages?: readonly string[] | undefined;
  from?: string | undefined;
  /** Exclusive. */
  to?: string | undefined;
  /** Later moves are ignored. */
  asOf?: string | undefined;
  stageExit?: StageExit | undefined;
}

/** Opportunities with such an arrival in their stage history. */
export function arrived({ pipelineId, stages, from, to, asOf: latest, stageExit }: Arrivals): Condition {
  const left = typeof stageExit === "string" ? stageExit : stageExit && "stages";
  return {
    cacheKey: `arrived ${left ?? ""}`,
    values: [pipelineId ?? null, stages ?? null, from ?? null, to ?? null, latest ?? null, ...(left === "stages" ? [stageExit] : [])],
    sql: ([pipeline, stage, start, end, last, next]) => {
      const arrivals = db
        .selectFrom("opportunityHistory as arrival")
        .select("arrival.opportunityId")
        .where(sql<boolean>`arrival.moved`)
        .where(sql<boolean>`(${pipeline}::uuid is null or arrival.pipeline_id = ${pipeline}::uuid)`)
        .where(sql<boolean>`(${stage}::text[] is null or arrival.stage = any(${stage}::text[]))`)
        .where(sql<boolean>`arrival.at >= coalesce(${start}::timestamptz, '-infinity')`)
        .where(sql<boolean>`arrival.at < coalesce(${end}::timestamptz, 'infinity')`)
        .where(sql<boolean>`arrival.at <= coalesce(${last}::timestamptz, 'infinity')`);
      const closed = arrivals
        .leftJoinLateral(
          (eb) =>
            eb
              .selectFrom("opportunityHistory as later")
              .select(["later.stage as nextStage", "later.pipelineId as nextPipelineId"])
              .whereRef("later.opportunityId", "=", "arrival.opportunityId")
              .whereRef("later.seq", ">", "arrival.seq")
              .where(sql<boolean>`later.moved and later.at <= coalesce(${last}::timestamptz, 'infinity')`)
              .orderBy("later.seq")
              .limit(sql.lit(1))
              .as("departure"),
          (join) => join.onTrue(),
        )
        .where(becameOf(left, next));
      return sql<boolean>`opportunity_id in (${left ? closed : arrivals})`;
    },
  };
}

function becameOf(left: "stages" | "STILL" | "PIPELINE" | undefined, next: RawBuilder<unknown> | undefined): RawBuilder<boolean> {
  if (left === "STILL") return sql<boolean>`next_stage is null`;
  if (left === "PIPELINE") return sql<boolean>`next_pipeline_id <> arrival.pipeline_id`;
  return sql<boolean>`(next_pipeline_id = arrival.pipeline_id and next_stage = any(${next}::text[]))`;
}

/** For lists and exports. */
export const lists = new ListRunner<Opportunity>({
  resource: opportunity,
  select: current,
  id: "opportunityId",
  owner: "ownerId",
  // Visibility is always the current one, whatever time the list refers to: a record that was reassigned is invisible with its history.
  visibleTo: (userId) => ({ cacheKey: "visible", values: [userId], sql: ([owner]) => sql<boolean>`present_owner_id = ${owner}` }),
  countsDependOn: ["opportunity", "pipeline"],
  defaultSort: "-createdAt",
  fields: {
    ...opportunityColumns.fields,
    pipelineId: { ...opportunityColumns.fields.pipelineId, values: knownPipelines },
    stage: { ...opportunityColumns.fields.stage, values: knownStages },
    lastStage: { type: "text", values: knownStages },
  },
  keyword,
});

const moves = () =>
  db
    .selectFrom(
      db
        .selectFrom("opportunityHistory as move")
        .select([
          "move.opportunityId",
          "move.seq",
          "move.pipelineId",
          "move.fromStage",
          "move.stage as toStage",
          "move.at as enteredAt",
          "move.amount",
          "move.currency",
          "move.probability",
          "move.expectedCloseDate",
          "move.actorId",
          "move.requestId",
        ])
        .select((eb) =>
          eb
            .selectFrom("opportunityHistory as next")
            .select("next.at")
            .whereRef("next.opportunityId", "=", "move.opportunityId")
            .whereRef("next.seq", ">", "move.seq")
            .where(sql<boolean>`next.moved`)
            .orderBy("next.seq")
            .limit(sql.lit(1))
            .as("leftAt"),
        )
        .where(sql<boolean>`move.moved`)
        .as("move"),
    )
    .select(["opportunityId", "seq", "pipelineId", "fromStage", "toStage", "enteredAt", "leftAt", "amount", "currency"])
    .select(["expectedCloseDate", "actorId", "requestId", probability])
    .$castTo<StageMove>();

/** The moves of opportunities between stages; callers must check access to the opportunity. */
export const stageMoveLists = new ListRunner<StageMove>({
  resource: stageMove,
  select: moves,
  id: "seq",
  defaultSort: "seq",
  visibleTo: () => ({ cacheKey: "everyone's", values: [], sql: () => sql<boolean>`true` }),
  fields: {
    seq: { type: "integer", sort: true },
    fromStage: { type: "text", nullable: true, values: knownStages },
    toStage: { type: "text", values: knownStages },
    enteredAt: { type: "time", sort: true },
    leftAt: { type: "time", nullable: true },
    actorId: { type: "text" },
    requestId: { type: "text" },
  },
});
