import { badField } from "@cell/problem";
import { type Actor, checkOwner } from "../customers/domain.ts";
import { fixedProbabilityOf } from "../pipelines/domain.ts";
import type { Pipeline, Stage } from "../pipelines/schema.ts";
import type { Opportunity, OpportunityInput, OpportunityPatch } from "./schema.ts";

/** An opportunity with the number of its last history row. */
export type TrackedOpportunity = Opportunity & { historySeq: number };

/** What an opportunity was from `at` on, in every field that reports depend on. */
export interface HistoryRow {
  opportunityId: string;
  seq: number;
  moved: boolean;
  fromStage: string | null;
  fromPipelineId: string | null;
  fromStageType: Opportunity["status"] | null;
  fromEnteredAt: string | null;
  pipelineId: string;
  stage: string;
  stageType: Opportunity["status"];
  amount: string;
  currency: string;
  probability: number;
  expectedCloseDate: string | null;
  closedAt: string | null;
  ownerId: string;
  customerId: string;
  deleted: boolean;
  at: string;
  actorId: string;
  requestId: string;
}

/** A change of these fields adds a history row; a change of stage or pipeline is a move. */
const reported = ["customerId", "amount", "currency", "pipelineId", "stage", "probability", "expectedCloseDate", "ownerId"] as const;

/**
 * A new opportunity from a caller's input. Throws BAD_REQUEST for a stage that the pipeline lacks, FORBIDDEN for an owner that the actor
 * may not choose.
 */
export function newOpportunity(
  input: OpportunityInput,
  pipeline: Pipeline,
  actor: Actor,
  made: { opportunityId: string; currency: string; now: string },
): TrackedOpportunity {
  const stage = input.stage === undefined ? firstStage(pipeline) : stageNamed(pipeline, input.stage);
  const created = opportunityIn(stage, input, pipeline, actor, made);
  return { ...created, lostReason: lostReasonIn(stage, created.lostReason, true) };
}

/** An opportunity that has just entered a stage. */
function opportunityIn(
  stage: Stage,
  input: OpportunityInput,
  pipeline: Pipeline,
  actor: Actor,
  { opportunityId, currency, now }: { opportunityId: string; currency: string; now: string },
): TrackedOpportunity {
  const ownerId = input.ownerId ?? actor.userId;
  checkOwner(ownerId, actor);
  return {
    opportunityId,
    customerId: input.customerId,
    name: input.name,
    amount: input.amount ?? "0",
    currency: input.currency ?? currency,
    pipelineId: pipeline.pipelineId,
    stage: stage.stage,
    status: stage.type,
    ...probabilityIn(stage, input.probability ?? undefined),
    expectedCloseDate: input.expectedCloseDate ?? null,
    ownerId,
    lostReason: lostReasonIn(stage, input.lostReason ?? null, false),
    stageEnteredAt: now,
    closedAt: stage.type === "open" ? null : now,
    createdAt: now,
    updatedAt: now,
    version: 1,
    historySeq: 1,
  };
}

/**
 * The opportunity after a change, in the pipeline that it is in from then on; the same object if nothing changes.
 * Throws BAD_REQUEST for a stage that the pipeline lacks and for a loss without a reason.
 */
export function changedOpportunity(
  current: TrackedOpportunity,
  patch: OpportunityPatch,
  pipeline: Pipeline,
  now: string,
): TrackedOpportunity {
  // Clocks of several processes may differ slightly: history never goes back.
  const at = now > current.updatedAt ? now : current.updatedAt;
  const stage = targetStage(current, patch, pipeline);
  const moved = stage.stage !== current.stage || pipeline.pipelineId !== current.pipelineId;
  const entered = stage.type !== current.status;
  const { probability, lostReason = current.lostReason, ...rest } = patch;
  const reason = lostReasonIn(stage, lostReason, entered || Boolean(current.lostReason));
  const fields: Opportunity = {
    ...current,
    ...rest,
    pipelineId: pipeline.pipelineId,
    stage: stage.stage,
    status: stage.type,
    ...(moved || probability !== undefined
      ? probabilityIn(stage, probability ?? undefined)
      : { probability: current.probability, probabilityOverridden: current.probabilityOverridden }),
    // A stored empty text is not a reason either.
    lostReason: reason === (current.lostReason || null) ? current.lostReason : reason,
    stageEnteredAt: moved ? at : current.stageEnteredAt,
    closedAt: stage.type === "open" ? null : entered ? at : current.closedAt,
  };
  if (Object.entries(fields).every(([field, value]) => current[field as keyof Opportunity] === value)) return current;
  const isHistory = reported.some((field) => fields[field] !== current[field]);
  return { ...fields, updatedAt: at, version: current.version + 1, historySeq: current.historySeq + (isHistory ? 1 : 0) };
}

/** The opportunity after a change whose effect must stay hidden: always with a new version and a history row. */
export function recordedAnyway(current: TrackedOpportunity, after: TrackedOpportunity, now: string): TrackedOpportunity {
  const at = now > current.updatedAt ? now : current.updatedAt;
  return { ...after, updatedAt: at, version: current.version + 1, historySeq: current.historySeq + 1 };
}

/** One stage of an imported history. */
export interface ImportedStage {
  stage: Stage;
  enteredAt: string;
}

/** An imported opportunity with its history; one that was lost elsewhere may lack the reason. Throws FORBIDDEN as for a new one. */
export function importedOpportunity(
  input: OpportunityInput,
  imported: readonly [ImportedStage, ...ImportedStage[]],
  pipeline: Pipeline,
  actor: Actor,
  made: { opportunityId: string; currency: string; now: string; requestId: string },
): { row: TrackedOpportunity; history: HistoryRow[] } {
  const { now, requestId } = made;
  const { stage, enteredAt } = imported.at(-1) ?? imported[0];
  const row: TrackedOpportunity = {
    ...opportunityIn(stage, input, pipeline, actor, made),
    stageEnteredAt: enteredAt,
    closedAt: stage.type === "open" ? null : enteredAt,
    createdAt: imported[0].enteredAt,
    historySeq: imported.length,
  };
  let before: TrackedOpportunity | undefined;
  const history = imported.flatMap(({ stage: then, enteredAt: at }, index) => {
    const known = index === imported.length - 1 ? undefined : probabilityIn(then, undefined);
    const closedAt = then.type === "open" ? null : at;
    const state = { stage: then.stage, status: then.type, stageEnteredAt: at, closedAt, updatedAt: at };
    const after = { ...row, ...known, ...state, historySeq: index + 1 };
    const made = historyOf(before, after, { actorId: actor.userId, requestId });
    before = after;
    return made ?? [];
  });
  return { row: { ...row, updatedAt: now }, history };
}

/** The final state of a deleted opportunity. */
export function deletedOpportunity(current: TrackedOpportunity, now: string): TrackedOpportunity {
  const at = now > current.updatedAt ? now : current.updatedAt;
  return { ...current, updatedAt: at, version: current.version + 1, historySeq: current.historySeq + 1 };
}

/** The opportunity with former values, as when an import is reverted; it enters its former stage now. */
export function restoredOpportunity(current: TrackedOpportunity, former: Partial<Opportunity>, now: string): TrackedOpportunity {
  const at = now > current.updatedAt ? now : current.updatedAt;
  const fields = { ...current, ...former };
  const moved = fields.stage !== current.stage || fields.pipelineId !== current.pipelineId;
  // Fields that the import had are always recorded: see `recordedAnyway`.
  const isHistory = reported.some((field) => field in former);
  return {
    ...fields,
    stageEnteredAt: moved ? at : current.stageEnteredAt,
    updatedAt: at,
    version: current.version + 1,
    historySeq: current.historySeq + (isHistory ? 1 : 0),
  };
}

/** The history row of a change; undefined for one that no report depends on. */
export function historyOf(
  before: TrackedOpportunity | undefined,
  after: TrackedOpportunity,
  by: { actorId: string; requestId: string },
  deleted = false,
): HistoryRow | undefined {
  if (before?.historySeq === after.historySeq) return undefined;
  const moved = !before || before.stage !== after.stage || before.pipelineId !== after.pipelineId;
  const left = moved ? before : undefined;
  return {
    opportunityId: after.opportunityId,
    seq: after.historySeq,
    moved,
    fromStage: left?.stage ?? null,
    fromPipelineId: left?.pipelineId ?? null,
    fromStageType: left?.status ?? null,
    fromEnteredAt: left?.stageEnteredAt ?? null,
    pipelineId: after.pipelineId,
    stage: after.stage,
    stageType: after.status,
    amount: after.amount,
    currency: after.currency,
    probability: after.probability,
    expectedCloseDate: after.expectedCloseDate,
    closedAt: after.closedAt,
    ownerId: after.ownerId,
    customerId: after.customerId,
    deleted,
    at: after.updatedAt,
    ...by,
  };
}

/** The stage of a pipeline by its slug. Throws BAD_REQUEST that lists the known ones. */
function stageNamed({ stages }: Pick<Pipeline, "stages">, name: string): Stage {
  const found = stages.find(({ stage }) => stage === name);
  if (!found) throw badField("stage", "INVALID_ENUM", `must be one of ${stages.map(({ stage }) => stage).join(", ")}`);
  return found;
}

function firstStage({ stages }: Pick<Pipeline, "stages">): Stage {
  const first = stages.find(({ type }) => type === "open");
  if (!first) throw new Error("a pipeline without an open stage");
  return first;
}

function targetStage(current: TrackedOpportunity, patch: OpportunityPatch, pipeline: Pipeline): Stage {
  if (patch.stage !== undefined) return stageNamed(pipeline, patch.stage);
  return pipeline.pipelineId === current.pipelineId ? stageNamed(pipeline, current.stage) : firstStage(pipeline);
}

function probabilityIn(stage: Stage, given: number | undefined): Pick<Opportunity, "probability" | "probabilityOverridden"> {
  const fixed = fixedProbabilityOf(stage.type);
  return { probability: fixed ?? given ?? stage.probability, probabilityOverridden: fixed === undefined && given !== undefined };
}

function lostReasonIn(stage: Stage, reason: string | null, required: boolean): string | null {
  if (stage.type !== "lost") return null;
  if (!reason && required) throw badField("lostReason", "REQUIRED", "is required for a lost opportunity");
  return reason || null;
}
