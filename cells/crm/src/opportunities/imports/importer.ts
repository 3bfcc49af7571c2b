import { type AuditDraft, audited } from "@cell/cell";
import { type TenantTx, violatedConstraint } from "@cell/postgres";
import { unavailable } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import { formerValues, problem } from "../../imports/domain.ts";
import type { Importer, ReadRow, RevertContext, RowProblem } from "../../imports/importer.ts";
import * as pipelines from "../../pipelines/repository.ts";
import { deletedOpportunity, type HistoryRow, historyOf, restoredOpportunity, type TrackedOpportunity } from "../domain.ts";
import { ambiguousPercent, isAmbiguousPercent, readPercent } from "../percent.ts";
import { type Opportunity, opportunity } from "../schema.ts";
import * as bulk from "./bulk-write.ts";
import { inRow, type Known, knownTo, type OpportunityRow, type Plan, planned, rowSchema } from "./plan.ts";

const text = (...aliases: string[]) => ({ aliases, form: "text" as const });
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
  probability: text("概率", "赢率"),
  probabilityOverridden: { aliases: [], form: "boolean" as const },
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

/** Importer of opportunities. */
export const opportunityImport: Importer<OpportunityRow, Known, Plan> = {
  type: opportunity.type,
  path: "/opportunities",
  columns,
  sensitive: opportunity.sensitive,
  examples: [
    { customerName: "某某公司", name: "年度采购", amount: "120000.00", stage: "proposal" },
    { customerName: "某某公司", name: "Spare parts", amount: "8000.00", stage: "prospecting" },
  ],
  keys: { name: "opportunityId", id: "opportunityId" },

  read(item, options, actor): ReadRow<OpportunityRow> {
    const isIgnored = (field: string) => Object.hasOwn(columns, field) && "ignored" in columns[field as keyof typeof columns];
    const values = Object.fromEntries(Object.entries(item).filter(([field]) => !isIgnored(field)));
    // An id or a name that is null names no record, as an empty cell.
    for (const field of ["opportunityId", "customerId", "customerName"]) if (values[field] === null) delete values[field];
    const percent = readPercent(item.probability);
    if (percent) values.probability = percent.value;
    const parsed = rowSchema.safeParse(values, { reportInput: true });
    const problems: RowProblem[] = parsed.success ? [] : fieldProblems(parsed.error).map(inRow);
    // Checked later for a row that names a record: the stored probability may be that small.
    const isAmbiguous = parsed.success && !percent?.isExact && isAmbiguousPercent(parsed.data);
    if (isAmbiguous && parsed.data.opportunityId === undefined) problems.push(ambiguousPercent);
    const required = (field: string) => problems.push(problem(field, "REQUIRED", "is required"));
    const isNew = options.mode === "create" || (options.mode === "upsert" && values.opportunityId === undefined);
    if (isNew && values.name === undefined) required("name");
    if (isNew && values.customerId === undefined && values.customerName === undefined) required("customerId");
    if (options.mode === "update" && values.opportunityId === undefined) required("opportunityId");
    if (actor.ownOnly && item.ownerId !== undefined && item.ownerId !== actor.userId)
      problems.push(problem("ownerId", "INVALID_FORMAT", "can only be yourself"));
    if (problems.length > 0 || !parsed.success) return { problems };
    const given = parsed.data as OpportunityRow;
    const data = isAmbiguous ? { ...given, isAmbiguous } : given;
    return { data, nameKey: null, idKey: data.opportunityId ?? null, furtherWrites: data.stageHistory?.length ?? 0 };
  },

  lookUp: knownTo,

  ownedBy: bulk.ownedBy,

  plan(rows, known, context) {
    return rows.map((row) => planned(row, known, context));
  },

  async write(tx, plans, importId) {
    const writes = plans.flatMap(({ write }) => write ?? []);
    const added = writes.flatMap(({ kind, after, history }) => (kind === "insert" ? { ...after, progress: passed(history) } : []));
    const changed = writes.flatMap(({ kind, after }) => (kind === "update" ? after : []));
    const written = await retainedStages(async () => [...(await bulk.insert(tx, added, importId)), ...(await bulk.update(tx, changed))]);
    const done = new Set(written);
    const missed = new Set(plans.flatMap(({ outcome, write }) => (write && !done.has(write.after.opportunityId) ? outcome.row : [])));
    await bulk.track(
      tx,
      plans.flatMap(({ outcome, write }) => (write && !missed.has(outcome.row) ? write.history : [])),
    );
    return missed;
  },

  async revert(tx, changes, by) {
    const ids = changes.map(({ resourceId }) => resourceId);
    const current = new Map((await bulk.live(tx, ids)).map((found) => [found.opportunityId, found]));
    const byPipeline = new Map((await pipelines.findAll(tx)).map((found) => [found.pipelineId, found]));
    const stored: { id: string; reason: string }[] = [];
    const taken: Taken[] = [];
    for (const { resourceId, action, resourceVersion, changes: fields } of changes) {
      const before = current.get(resourceId);
      if (!before) stored.push({ id: resourceId, reason: "DELETED_SINCE" });
      else if (before.version !== resourceVersion) stored.push({ id: resourceId, reason: "CHANGED_SINCE" });
      else if (action === "create") taken.push({ before, after: deletedOpportunity(before, by.now), deleted: true, named: [] });
      else {
        const former = formerValues(opportunity, fields) as Partial<Opportunity>;
        const after = restoredOpportunity(before, former, by.now);
        const stages = byPipeline.get(after.pipelineId)?.stages ?? [];
        const named = Object.keys(former).filter((field) => field in opportunity.sensitive);
        if (stages.some(({ stage, type }) => stage === after.stage && type === after.status))
          taken.push({ before, after, deleted: false, named });
        else stored.push({ id: resourceId, reason: "CHANGED_SINCE" });
      }
    }
    return takeBack(tx, taken, stored, by);
  },
};

/** The stages of a history, ordered by when each was entered last. */
function passed(history: readonly HistoryRow[]): string[] {
  return [...new Set(history.map(({ stage }) => stage).reverse())].reverse();
}

/** A revert's changes of one opportunity. */
interface Taken {
  before: TrackedOpportunity;
  after: TrackedOpportunity;
  deleted: boolean;
  /** The fields that its audit entry names in any case. */
  named: readonly string[];
}

async function takeBack(tx: TenantTx, taken: readonly Taken[], stored: { id: string; reason: string }[], by: RevertContext) {
  const rowsOf = (deleted: boolean) => taken.flatMap((one) => (one.deleted === deleted ? one.after : []));
  const written = await retainedStages(async () => [
    ...(await bulk.remove(tx, rowsOf(true), by.now)),
    ...(await bulk.update(tx, rowsOf(false))),
  ]);
  const done = new Set(written);
  const audit: AuditDraft[] = [];
  const history: HistoryRow[] = [];
  for (const { before, after, deleted, named } of taken) {
    if (!done.has(after.opportunityId)) stored.push({ id: after.opportunityId, reason: "CHANGED_SINCE" });
    else {
      audit.push(audited(deleted ? "delete" : "update", opportunity, before, after, named));
      const change = historyOf(before, after, { actorId: by.actorId, requestId: by.requestId }, deleted);
      if (change) history.push(change);
    }
  }
  await bulk.track(tx, history);
  return { audit, kept: stored };
}

/** Retries everything if a stage was removed between the lookup and the write. */
async function retainedStages<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw violatedConstraint(error) ? unavailable("Other requests are writing the same opportunities; try again", 1, error) : error;
  }
}
