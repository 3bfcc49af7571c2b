import { audited, type Call, type Cell, changed, checked, endpoint, idParams, listAnswer, listOf, listQuery } from "@cell/cell";
import type { TenantTx } from "@cell/postgres";
import { Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { endedStages, stagesOf } from "./domain.ts";
import * as pipelines from "./repository.ts";
import { type Pipeline, pipeline, pipelineInput, pipelinePatch } from "./schema.ts";

const tag = "Pipelines";

const listPipelines = endpoint({
  method: "get",
  path: "/pipelines",
  permission: "crm:read",
  tag,
  summary: "List pipelines",
  query: listQuery,
  status: 200,
  answer: listOf(pipeline, listAnswer(pipeline)),
});

const createPipeline = endpoint({
  method: "post",
  path: "/pipelines",
  permission: "tenant:admin",
  tag,
  summary: "Create a pipeline",
  description: "Pipelines shape everybody's reports: only who has tenant:admin changes them.",
  body: pipelineInput,
  status: 201,
  answer: pipeline,
  versioned: true,
  sight: "everyone",
});

const getPipeline = endpoint({
  method: "get",
  path: "/pipelines/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a pipeline",
  params: idParams,
  status: 200,
  answer: pipeline,
  versioned: true,
});

const changePipeline = endpoint({
  method: "patch",
  path: "/pipelines/{id}",
  permission: "tenant:admin",
  tag,
  summary: "Change a pipeline",
  description: `\`stages\` is the whole list in its order. A stage with opportunities on it cannot be removed nor change its type: 409 CONFLICT with
\`details.stages\`. A new probability holds for who enters the stage from then on. \`isDefault: true\` moves the default here; it is not taken away, only moved.`,
  params: idParams,
  body: pipelinePatch,
  status: 200,
  answer: pipeline,
  versioned: true,
  sight: "everyone",
});

/** The pipelines' routes. */
export function pipelineRoutes(cell: Cell): void {
  cell.list(listPipelines, pipelines.lists);

  cell.command(createPipeline, async (call, tx) => {
    const { name, stages, isDefault = false } = call.body;
    const created: Pipeline = {
      pipelineId: uuidv7(),
      name,
      isDefault,
      stages: stagesOf(stages),
      createdAt: call.now,
      updatedAt: call.now,
      version: 1,
    };
    const demoted = isDefault ? await demote(tx, created, call.now) : [];
    return {
      changes: pipelines.insert(tx, created),
      audit: [audited("create", pipeline, {}, created), ...demoted],
      body: created,
      conflicts: defaultConflict,
    };
  });

  cell.read(getPipeline, "Pipeline", (call, tenant) => pipelines.find(tenant, call.params.id));

  cell.command(changePipeline, async (call, tx) => {
    const current = await checked(call, tx, pipeline, await pipelines.find(tx, call.params.id));
    const { stages, ...rest } = call.body;
    if (current.isDefault && rest.isDefault === false)
      throw new Problem("CONFLICT", "This is the default pipeline: make another one the default instead");
    const next = changed(current, stages ? { ...rest, stages: stagesOf(stages) } : rest, call.now);
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.pipelineId };
    const demoted = next.isDefault && !current.isDefault ? await demote(tx, next, call.now) : [];
    return {
      changes: pipelines.update(tx, next, current.version),
      audit: [audited("update", pipeline, current, next), ...demoted],
      body: next,
      conflicts: { ...defaultConflict, opportunities_stage_key: () => occupiedConflict(call, current, next) },
    };
  });
}

const defaultConflict = {
  pipelines_default: async () => new Problem("CONFLICT", "Another pipeline has just become the default; try again"),
};

async function occupiedConflict({ tenant }: Pick<Call, "tenant">, before: Pipeline, after: Pipeline): Promise<Problem> {
  const ended = endedStages(before.stages, after.stages);
  const stages = await pipelines.occupiedStages(tenant.reader(), before.pipelineId, ended);
  return new Problem("CONFLICT", "A stage with opportunities on it can neither be removed nor change its type: move them first", {
    details: { stages },
  });
}

/** Ends the other's being the default and says so in the trail. */
async function demote(tx: TenantTx, chosen: Pipeline, now: string) {
  await tx.begin();
  const others = await pipelines.endOthersDefault(tx, chosen, now);
  return others.map((other) => audited("update", pipeline, { ...other, isDefault: true }, { ...other, isDefault: false }));
}
