import type { Parameters } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db } from "../tables.ts";

/** What every report asks: the opportunities of a pipeline as they were at a moment. */
export interface Question {
  pipelineId: string;
  /** Only what this user owned then; null for everybody's. */
  visibleTo: string | null;
  ownerId: string | null;
  currency: string | null;
  asOf: string;
  /** The pipeline's stages by their numbers: the n-th is bit n of a mask. */
  stages: string[];
  /** Their positions in the pipeline. */
  positions: number[];
}

/** Whether a report speaks of what is, or of what was at its moment: what is stands on the opportunities themselves. */
export type Tense = "present" | "past";

export const bitOf = (p: Parameters<Question>) => sql`(array_position(${p.stages}::text[], stage) - 1)`;

const columns = ["opportunityId", "pipelineId", "stage", "amount", "currency", "probability"] as const;
const times = ["expectedCloseDate", "closedAt", "ownerId", "createdAt"] as const;

/** The opportunities as they are. */
const present = () =>
  db
    .selectFrom("opportunities")
    .select([...columns, "status as stageType", ...times, "stageEnteredAt as enteredAt", "entered", "lastStage"])
    .where("deletedAt", "is", null);

/** Those that have changed since the moment, in what a report depends on. */
const changedSince = (p: Parameters<Question>) =>
  db.selectFrom("opportunityHistory").select("opportunityId").where(sql<boolean>`at > ${p.asOf}::timestamptz`);

const history = sql`(partition by opportunity_id)`;
const isMove = (p: Parameters<Question>) => sql`moved and pipeline_id = ${p.pipelineId}::uuid`;

/** What they were then, out of their history up to the moment. */
const formerly = (p: Parameters<Question>) =>
  db
    .selectFrom(
      db
        .selectFrom("opportunityHistory")
        .select([...columns, "stageType", "expectedCloseDate", "closedAt", "ownerId", "deleted"])
        .select([
          sql<string>`min(at) over ${history}`.as("createdAt"),
          sql<string>`max(at) filter (where moved) over ${history}`.as("enteredAt"),
          sql<
            string | null
          >`bit_or(case when ${bitOf(p)} < 63 then 1::bigint << ${bitOf(p)} end) filter (where ${isMove(p)}) over ${history}`.as("entered"),
          // The later row wins: its number stands in front of the stage's.
          sql<
            number | null
          >`(max(seq::bigint * 1024 + ${bitOf(p)}) filter (where ${isMove(p)} and stage_type <> 'lost') over ${history} % 1024)::smallint`.as(
            "lastStage",
          ),
          sql<boolean>`seq = max(seq) over ${history}`.as("isLast"),
        ])
        .where(sql<boolean>`at <= ${p.asOf}::timestamptz`)
        .where("opportunityId", "in", changedSince(p))
        .as("past"),
    )
    .select([...columns, "stageType", ...times, "enteredAt", "entered", "lastStage"])
    .where(sql<boolean>`is_last and not deleted`);

const ofTense: Record<Tense, (p: Parameters<Question>) => ReturnType<typeof present>> = {
  present,
  past: (p) =>
    present()
      .where("opportunityId", "not in", changedSince(p))
      .unionAll(formerly(p) as never),
};

const matches = (given: RawBuilder<string | null>, column: RawBuilder<unknown>) =>
  sql<boolean>`(${given}::text is null or ${column} = ${given})`;

/** The opportunities of all pipelines that the question is about. */
export const everywhere = (p: Parameters<Question>, tense: Tense) =>
  db
    .selectFrom(ofTense[tense](p).as("state"))
    .where(matches(p.visibleTo, sql`owner_id`))
    .where(matches(p.ownerId, sql`owner_id`))
    .where(matches(p.currency, sql`currency`));

/** Those that were in the pipeline. */
export const states = (p: Parameters<Question>, tense: Tense) =>
  everywhere(p, tense).where(sql<boolean>`pipeline_id = ${p.pipelineId}::uuid`);
