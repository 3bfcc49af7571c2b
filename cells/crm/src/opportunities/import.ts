import { type AuditDraft, audited, fieldProblems, hasForm, withoutMasked } from "@cell/cell";
import { type TenantTx, violatedConstraint } from "@cell/postgres";
import { type FieldProblem, Problem, unavailable } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { moment } from "../calendar.ts";
import * as customers from "../customers/bulk.ts";
import { nameKey } from "../customers/domain.ts";
import type { Customer } from "../customers/schema.ts";
import { problem, rowProblem } from "../imports/domain.ts";
import type { ImportActor, ImportContext, Importer, ReadRow, RevertContext, Row, RowOutcome, RowProblem } from "../imports/importer.ts";
import * as pipelines from "../pipelines/repository.ts";
import type { Pipeline } from "../pipelines/schema.ts";
import { effective } from "../settings/domain.ts";
import * as settings from "../settings/repository.ts";
import * as bulk from "./bulk.ts";
import {
  changedOpportunity,
  deletedOpportunity,
  type HistoryRow,
  historyOf,
  importedOpportunity,
  restoredOpportunity,
  type TrackedOpportunity,
} from "./domain.ts";
import { type GivenPast, pastOf, sameTime } from "./past.ts";
import { type Opportunity, type OpportunityPatch, opportunity, opportunityPatch } from "./schema.ts";

const text = (...aliases: string[]) => ({ aliases, form: "text" as const });
const json = (...aliases: string[]) => ({ aliases, form: "json" as const });
const ignored = { aliases: [], form: "text" as const, ignored: true as const };

const columns = {
  opportunityId: text("商机编号", "商机ID"),
  customerId: text("客户编号", "客户ID"),
  customerName: text("客户名称", "客户"),
  name: text("商机名称", "名称", "商机"),
  amount: text("金额"),
  currency: text("币种", "货币"),
  pipelineId: text("管道编号", "管道ID"),
  stage: text("阶段"),
  probability: json("概率", "赢率"),
  probabilityOverridden: json(),
  expectedCloseDate: text("预计成交日期", "预计关闭日期"),
  ownerId: text("负责人", "负责人ID"),
  lostReason: text("丢单原因", "输单原因"),
  createdAt: text("创建时间"),
  closedAt: text("关闭时间", "成交时间"),
  stageHistory: { aliases: ["阶段历史"], form: "list" as const },
  tenantId: ignored,
  status: { ...ignored, aliases: ["状态"] },
  stageEnteredAt: ignored,
  updatedAt: { ...ignored, aliases: ["更新时间"] },
  version: ignored,
  _masked: ignored,
  errors: { ...ignored, aliases: ["错误"] },
};

/** `proposal@2026-01-20`, or the same as an object. */
const pastStage = z.union([
  z.strictObject({ stage: z.string().max(64), enteredAt: moment() }),
  z
    .string()
    .max(200)
    .refine((given) => hasForm("time", given.slice(given.indexOf("@") + 1)), "is not of the form stage@2026-01-31")
    .transform((given) => ({ stage: given.slice(0, given.indexOf("@")).trim(), enteredAt: given.slice(given.indexOf("@") + 1) })),
]);

const rowSchema = opportunityPatch.extend({
  opportunityId: z.uuid().optional(),
  customerName: z.string().max(255).optional(),
  probabilityOverridden: z.boolean().optional(),
  createdAt: moment().optional(),
  closedAt: moment().nullable().optional(),
  stageHistory: z.array(pastStage).max(200).optional(),
});
type OpportunityRow = z.infer<typeof rowSchema>;

/** How opportunities are imported. */
export const opportunityImport: Importer<OpportunityRow> = {
  type: opportunity.type,
  path: "/opportunities",
  columns,
  keys: { name: "opportunityId", id: "opportunityId" },

  read(item, options, actor): ReadRow<OpportunityRow> {
    const isIgnored = (field: string) => Object.hasOwn(columns, field) && "ignored" in columns[field as keyof typeof columns];
    const parsed = rowSchema.safeParse(Object.fromEntries(Object.entries(item).filter(([field]) => !isIgnored(field))), {
      reportInput: true,
    });
    const problems: RowProblem[] = parsed.success ? [] : fieldProblems(parsed.error, "").map(inRow);
    const required = (field: string) => problems.push(problem(field, "REQUIRED", "is required"));
    const isNew = options.mode === "create" || (options.mode === "upsert" && item.opportunityId === undefined);
    if (isNew && item.name === undefined) required("name");
    if (isNew && item.customerId === undefined && item.customerName === undefined) required("customerId");
    if (options.mode === "update" && item.opportunityId === undefined) required("opportunityId");
    if (actor.ownOnly && item.ownerId !== undefined && item.ownerId !== actor.userId)
      problems.push(problem("ownerId", "INVALID_FORMAT", "can only be yourself"));
    if (problems.length > 0 || !parsed.success) return { problems };
    return { data: parsed.data, nameKey: null, idKey: parsed.data.opportunityId?.toLowerCase() ?? null };
  },

  async apply(tx, rows, context, write) {
    const outcomes: RowOutcome[] = [];
    let pending = rows;
    for (let attempt = 1; pending.length > 0; attempt++) {
      if (attempt > 5) throw busy();
      const known = await knownTo(tx, pending, context.actor);
      const plans = pending.map((row) => planned(row, known, context));
      const missed = write ? await carryOut(tx, plans, context.importId) : new Set<number>();
      for (const { outcome } of plans) if (!missed.has(outcome.row)) outcomes.push(outcome);
      // Written by someone else meanwhile: what is to become of them depends on what is there now.
      pending = pending.filter(({ row }) => missed.has(row));
    }
    return outcomes;
  },

  async revert(tx, changes, by) {
    const ids = changes.map(({ resourceId }) => resourceId);
    const current = new Map((await bulk.live(tx, ids)).map((found) => [found.opportunityId, found]));
    const byPipeline = new Map((await pipelines.findAll(tx)).map((found) => [found.pipelineId, found]));
    const kept: { id: string; reason: string }[] = [];
    const taken: Taken[] = [];
    for (const { resourceId, action, resourceVersion, changes: fields } of changes) {
      const before = current.get(resourceId);
      if (!before) kept.push({ id: resourceId, reason: "DELETED_SINCE" });
      else if (before.version !== resourceVersion) kept.push({ id: resourceId, reason: "CHANGED_SINCE" });
      else if (action === "create") taken.push({ before, after: deletedOpportunity(before, by.now), deleted: true });
      else {
        const former = Object.fromEntries(fields.map((change) => [change.field, change.before])) as Partial<Opportunity>;
        const after = restoredOpportunity(before, former, by.now);
        const stages = byPipeline.get(after.pipelineId)?.stages ?? [];
        if (stages.some(({ stage, type }) => stage === after.stage && type === after.status)) taken.push({ before, after, deleted: false });
        else kept.push({ id: resourceId, reason: "CHANGED_SINCE" });
      }
    }
    return takeBack(tx, taken, kept, by);
  },
};

const inRow = (found: FieldProblem) => rowProblem(found, "INVALID_FORMAT");

function busy(cause?: unknown) {
  return unavailable("Others write the same opportunities just now; try again", 1, cause);
}

/** What rows may be about, as far as the actor sees it. */
interface Known {
  opportunities: ReadonlyMap<string, TrackedOpportunity>;
  customersById: ReadonlyMap<string, Customer>;
  customersByName: ReadonlyMap<string, Customer>;
  pipelines: readonly Pipeline[];
  timezone: string;
  currency: string;
}

async function knownTo(tx: TenantTx, rows: readonly Row<OpportunityRow>[], { userId, ownOnly }: ImportActor): Promise<Known> {
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
  const { timezone, currency } = effective((await settings.find(tx)).values);
  return {
    opportunities: new Map(found.map((one) => [one.opportunityId, one])),
    customersById: new Map(buyers.map((one) => [one.customerId, one])),
    customersByName: new Map(buyers.map((one) => [nameKey(one.name), one])),
    pipelines: await pipelines.findAll(tx),
    timezone,
    currency,
  };
}

/** What is to become of a row; `write` is what it takes. */
interface Plan {
  outcome: RowOutcome;
  write?: { kind: "insert" | "update"; after: TrackedOpportunity; history: HistoryRow[] };
}

/** A row's plan; what a rule refuses is what is wrong with the row. */
function planned(row: Row<OpportunityRow>, known: Known, context: ImportContext): Plan {
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
  const { opportunityId, customerName, probabilityOverridden, createdAt, closedAt, stageHistory, ...patch } = data;
  const past: GivenPast = { stage: patch.stage, createdAt, closedAt, stageHistory };
  // A probability that comes beside the word that it is the stage's says nothing of its own.
  if (probabilityOverridden === false) delete patch.probability;
  const failed = (field: string, code: string, message: string, duplicateOf: string | null = null): Plan => ({
    outcome: { row, outcome: "failed", problems: [problem(field, code, message, duplicateOf)] },
  });
  const buyer =
    patch.customerId !== undefined ? known.customersById.get(patch.customerId) : known.customersByName.get(nameKey(customerName ?? ""));
  const same = opportunityId === undefined ? undefined : known.opportunities.get(opportunityId.toLowerCase());
  const field = patch.customerId === undefined ? "customerName" : "customerId";
  // The customer that it has already may be gone, or another's.
  const isSame = patch.customerId !== undefined && patch.customerId === same?.customerId;
  if (!buyer && data[field] !== undefined && !isSame) return failed(field, "NOT_FOUND", "is no customer of yours");
  if (buyer) patch.customerId = buyer.customerId;
  const pipelineId = patch.pipelineId ?? same?.pipelineId;
  const pipeline = known.pipelines.find((one) => (pipelineId === undefined ? one.isDefault : one.pipelineId === pipelineId));
  if (!pipeline) return failed("pipelineId", "NOT_FOUND", "is no pipeline");

  if (same) {
    if (mode === "create" && onDuplicate !== "update") {
      const isUnchanged = planUpdate(row, same, patch, past, pipeline, known, context).outcome.outcome === "skipped";
      if (isUnchanged || onDuplicate === "skip") return { outcome: { row, outcome: "skipped" } };
      return failed("opportunityId", "DUPLICATE_NAME", "is the id of an opportunity that exists", same.opportunityId);
    }
    return planUpdate(row, same, patch, past, pipeline, known, context);
  }
  if (mode === "update") return failed("opportunityId", "NOT_FOUND", "is no opportunity of yours");
  const { name } = patch;
  if (name === undefined) return failed("name", "REQUIRED", "is required");
  if (!buyer) return failed("customerId", "REQUIRED", "is required");
  const input = { ...withoutMasked(opportunity.sensitive, undefined, patch), name, customerId: buyer.customerId };
  const { actor, now, requestId } = context;
  const made = { opportunityId: uuidv7(), currency: known.currency, now, requestId };
  const { row: after, history } = importedOpportunity(
    input,
    pastOf(past, pipeline, { timezone: known.timezone, now }),
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
  past: GivenPast,
  pipeline: Pipeline,
  { timezone }: Known,
  { actor, now, requestId }: ImportContext,
): Plan {
  const problems: RowProblem[] = [];
  const refuse = (field: string) =>
    problems.push(problem(field, "INVALID_FORMAT", "is the past of an opportunity that exists: it cannot be changed"));
  if (past.stageHistory) refuse("stageHistory");
  if (past.createdAt !== undefined && sameTime(past.createdAt, current.createdAt, timezone) === undefined) refuse("createdAt");
  if (past.closedAt && (!current.closedAt || sameTime(past.closedAt, current.closedAt, timezone) === undefined)) refuse("closedAt");
  if (problems.length > 0) return { outcome: { row, outcome: "failed", problems } };
  const patch = withoutMasked(opportunity.sensitive, current, given);
  if (patch.probability === current.probability) delete patch.probability;
  const after = changedOpportunity(current, patch, pipeline, now);
  if (after === current) return { outcome: { row, outcome: "skipped" } };
  const change = historyOf(current, after, { actorId: actor.userId, requestId });
  return {
    outcome: { row, outcome: "updated", audit: audited("update", opportunity, current, after) },
    write: { kind: "update", after, history: change ? [change] : [] },
  };
}

/** Writes what is planned. The rows for which someone else was faster. */
async function carryOut(tx: TenantTx, plans: readonly Plan[], importId: string): Promise<Set<number>> {
  const rowsOf = (kind: "insert" | "update") => plans.flatMap(({ write }) => (write?.kind === kind ? write.after : []));
  const written = await stagesKept(async () => [
    ...(await bulk.insert(tx, rowsOf("insert"), importId)),
    ...(await bulk.update(tx, rowsOf("update"))),
  ]);
  const done = new Set(written);
  const missed = new Set(plans.flatMap(({ outcome, write }) => (write && !done.has(write.after.opportunityId) ? outcome.row : [])));
  await bulk.track(
    tx,
    plans.flatMap(({ outcome, write }) => (write && !missed.has(outcome.row) ? write.history : [])),
  );
  return missed;
}

/** What a revert does to one opportunity. */
interface Taken {
  before: TrackedOpportunity;
  after: TrackedOpportunity;
  deleted: boolean;
}

async function takeBack(tx: TenantTx, taken: readonly Taken[], kept: { id: string; reason: string }[], by: RevertContext) {
  const rowsOf = (deleted: boolean) => taken.flatMap((one) => (one.deleted === deleted ? one.after : []));
  const written = await stagesKept(async () => [
    ...(await bulk.remove(tx, rowsOf(true), by.now)),
    ...(await bulk.update(tx, rowsOf(false))),
  ]);
  const done = new Set(written);
  const audit: AuditDraft[] = [];
  const history: HistoryRow[] = [];
  for (const { before, after, deleted } of taken) {
    if (!done.has(after.opportunityId)) kept.push({ id: after.opportunityId, reason: "CHANGED_SINCE" });
    else {
      audit.push(audited(deleted ? "delete" : "update", opportunity, before, after));
      const change = historyOf(before, after, { actorId: by.actorId, requestId: by.requestId }, deleted);
      if (change) history.push(change);
    }
  }
  await bulk.track(tx, history);
  return { audit, kept };
}

/** A stage that was removed between the look and the write: all is to be done again. */
async function stagesKept<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw violatedConstraint(error) ? busy(error) : error;
  }
}
