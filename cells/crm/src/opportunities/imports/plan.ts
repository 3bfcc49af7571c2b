import { audited, findSettings, type Given, hiddenFields, id, isMoment, moment, text, withoutMasked } from "@cell/cell";
import { nameKey } from "@cell/http";
import type { TenantTx } from "@cell/postgres";
import { type FieldProblem, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import * as customers from "../../customers/imports/bulk-write.ts";
import type { Customer } from "../../customers/schema.ts";
import { problem, rowProblem } from "../../imports/domain.ts";
import type { ImportActor, ImportContext, Row, RowOutcome, RowProblem } from "../../imports/importer.ts";
import * as pipelines from "../../pipelines/repository.ts";
import type { Pipeline } from "../../pipelines/schema.ts";
import { effective } from "../../settings/domain.ts";
import { changedOpportunity, type HistoryRow, historyOf, importedOpportunity, recordedAnyway, type TrackedOpportunity } from "../domain.ts";
import { ambiguousPercent } from "../percent.ts";
import { type OpportunityPatch, opportunity, opportunityPatch } from "../schema.ts";
import * as bulk from "./bulk-write.ts";
import { type HistoryInput, historyFrom, sameTime } from "./imported-history.ts";

/** `proposal@2026-01-20`, or the same as an object. */
const importedStage = z.union([
  z.strictObject({ stage: z.string().max(64), enteredAt: moment() }),
  z
    .string()
    .max(200)
    .refine((given) => isMoment(given.slice(given.indexOf("@") + 1)), "is not of the form stage@2026-01-31")
    .transform((given) => ({ stage: given.slice(0, given.indexOf("@")).trim(), enteredAt: given.slice(given.indexOf("@") + 1) })),
]);

/** The values of a row. */
export const rowSchema = opportunityPatch.extend({
  opportunityId: id().optional(),
  customerName: text(255).optional(),
  probabilityOverridden: z.boolean().optional(),
  createdAt: moment().optional(),
  closedAt: moment().nullable().optional(),
  stageHistory: z.array(importedStage).max(200).optional(),
});
export type OpportunityRow = Given<z.infer<typeof rowSchema>> & {
  /** The probability may be a fraction of 1. */
  isAmbiguous?: boolean;
};

/** Turns a field's problem into a row's problem. */
export const inRow = (found: FieldProblem) => rowProblem(found, "INVALID_FORMAT");

/** The records that rows may refer to, as far as the actor may see them. */
export interface Known {
  opportunities: ReadonlyMap<string, TrackedOpportunity>;
  customersById: ReadonlyMap<string, Customer>;
  customersByName: ReadonlyMap<string, Customer>;
  pipelines: readonly Pipeline[];
  timezone: string;
  currency: string;
}

/** Looks up everything that the rows refer to, at once. */
export async function knownTo(tx: TenantTx, rows: readonly Row<OpportunityRow>[], { userId, ownOnly }: ImportActor): Promise<Known> {
  const given = <T>(pick: (data: OpportunityRow) => T | undefined): T[] => rows.flatMap(({ data }) => pick(data) ?? []);
  const isVisible = ({ ownerId }: { ownerId: string }) => !ownOnly || ownerId === userId;
  const found = (
    await bulk.live(
      tx,
      given((data) => data.opportunityId),
    )
  ).filter(isVisible);
  const names = given((data) => (data.customerName === undefined ? undefined : nameKey(data.customerName)));
  const buyers = (
    await customers.live(
      tx,
      given((data) => data.customerId),
      names,
    )
  ).filter(isVisible);
  const { timezone, currency } = effective((await findSettings(tx)).values);
  return {
    opportunities: new Map(found.map((one) => [one.opportunityId, one])),
    customersById: new Map(buyers.map((one) => [one.customerId, one])),
    customersByName: new Map(buyers.map((one) => [nameKey(one.name), one])),
    pipelines: await pipelines.findAll(tx),
    timezone,
    currency,
  };
}

/** The outcome planned for a row, and the write that it needs. */
export interface Plan {
  outcome: RowOutcome;
  write?: { kind: "insert" | "update"; after: TrackedOpportunity; history: HistoryRow[] };
}

/** A row's plan; a violated rule becomes a problem of the row. */
export function planned(row: Row<OpportunityRow>, known: Known, context: ImportContext): Plan {
  try {
    return plan(row, known, context);
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "BAD_REQUEST") throw error;
    return { outcome: { row: row.row, outcome: "failed", problems: fieldsOf(error).map(inRow) } };
  }
}

function fieldsOf({ details }: Problem): FieldProblem[] {
  return (details?.fields ?? []) as FieldProblem[];
}

function plan({ row, data }: Row<OpportunityRow>, known: Known, context: ImportContext): Plan {
  const { mode, onDuplicate } = context.options;
  const { opportunityId, customerName, probabilityOverridden, createdAt, closedAt, stageHistory, isAmbiguous, ...patch } = data;
  const imported: HistoryInput = { stage: patch.stage, createdAt, closedAt, stageHistory };
  // With `probabilityOverridden: false`, the probability is the stage's and adds nothing.
  if (probabilityOverridden === false) delete patch.probability;
  const failed = (field: string, code: string, message: string, duplicateOf: string | null = null): Plan => ({
    outcome: { row, outcome: "failed", problems: [problem(field, code, message, duplicateOf)] },
  });
  const buyer =
    patch.customerId !== undefined ? known.customersById.get(patch.customerId) : known.customersByName.get(nameKey(customerName ?? ""));
  const same = opportunityId === undefined ? undefined : known.opportunities.get(opportunityId);
  if (isAmbiguous && patch.probability !== same?.probability) return { outcome: { row, outcome: "failed", problems: [ambiguousPercent] } };
  const field = patch.customerId === undefined ? "customerName" : "customerId";
  // Its current customer may be deleted, or invisible to the caller.
  const isSame = patch.customerId !== undefined && patch.customerId === same?.customerId;
  if (!buyer && data[field] !== undefined && !isSame) return failed(field, "NOT_FOUND", "is not a customer that you may see");
  if (buyer) patch.customerId = buyer.customerId;
  const pipelineId = patch.pipelineId ?? same?.pipelineId;
  const pipeline = known.pipelines.find((one) => (pipelineId === undefined ? one.isDefault : one.pipelineId === pipelineId));
  if (!pipeline) return failed("pipelineId", "NOT_FOUND", "is not a pipeline");

  if (same) {
    if (mode === "create" && onDuplicate !== "update") {
      const isUnchanged = planUpdate(row, same, patch, imported, pipeline, known, context).outcome.outcome === "skipped";
      if (isUnchanged || onDuplicate === "skip") return { outcome: { row, outcome: "skipped" } };
      return failed("opportunityId", "DUPLICATE_NAME", "is the id of an existing opportunity", same.opportunityId);
    }
    return planUpdate(row, same, patch, imported, pipeline, known, context);
  }
  if (mode === "update") return failed("opportunityId", "NOT_FOUND", "is not an opportunity that you may see");
  const { name } = patch;
  if (name === undefined) return failed("name", "REQUIRED", "is required");
  if (!buyer) return failed("customerId", "REQUIRED", "is required");
  const input = { ...withoutMasked(opportunity.sensitive, undefined, patch), name, customerId: buyer.customerId };
  const { actor, now, requestId } = context;
  const made = { opportunityId: uuidv7(), currency: known.currency, now, requestId };
  const { row: after, history } = importedOpportunity(
    input,
    historyFrom(imported, pipeline, { timezone: known.timezone, now }),
    pipeline,
    actor,
    made,
  );
  return {
    outcome: { row, outcome: "created", audit: audited("create", opportunity, {}, after) },
    write: { kind: "insert", after, history },
  };
}

function planUpdate(
  row: number,
  current: TrackedOpportunity,
  given: OpportunityPatch,
  history: HistoryInput,
  pipeline: Pipeline,
  { timezone }: Known,
  { actor, now, requestId }: ImportContext,
): Plan {
  const problems: RowProblem[] = [];
  const refuse = (field: string) =>
    problems.push(problem(field, "INVALID_FORMAT", "is the history of an existing opportunity, which cannot be changed"));
  if (history.stageHistory) refuse("stageHistory");
  if (history.createdAt !== undefined && sameTime(history.createdAt, current.createdAt, timezone) === undefined) refuse("createdAt");
  if (history.closedAt && (!current.closedAt || sameTime(history.closedAt, current.closedAt, timezone) === undefined)) refuse("closedAt");
  if (problems.length > 0) return { outcome: { row, outcome: "failed", problems } };
  const patch = withoutMasked(opportunity.sensitive, current, given);
  if (patch.probability === current.probability) delete patch.probability;
  const changed = changedOpportunity(current, patch, pipeline, now);
  const hidden = hiddenFields(opportunity.sensitive, patch, new Set(actor.readable));
  const after = hidden.length > 0 ? recordedAnyway(current, changed, now) : changed;
  if (after === current) return { outcome: { row, outcome: "skipped" } };
  const change = historyOf(current, after, { actorId: actor.userId, requestId });
  const audit = audited("update", opportunity, current, after, hidden);
  return {
    outcome: { row, outcome: "updated", audit },
    write: { kind: "update", after, history: change ? [change] : [] },
  };
}
