import {
  applyPatch,
  audited,
  type Cell,
  endpoint,
  idParams,
  listOf,
  listQuery,
  listResponse,
  type RequestContext,
  requireVersion,
} from "@cell/cell";
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
  response: listOf(pipeline, listResponse(pipeline)),
});

const createPipeline = endpoint({
  method: "post",
  path: "/pipelines",
  permission: "tenant:admin",
  tag,
  summary: "Create a pipeline",
  description: "Pipelines shape everybody's reports: changing them needs tenant:admin.",
  body: pipelineInput,
  status: 201,
  response: pipeline,
  versioned: true,
  visibility: "everyone",
});

const getPipeline = endpoint({
  method: "get",
  path: "/pipelines/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a pipeline",
  params: idParams,
  status: 200,
  response: pipeline,
  versioned: true,
});

const changePipeline = endpoint({
  method: "patch",
  path: "/pipelines/{id}",
  permission: "tenant:admin",
  tag,
  summary: "Change a pipeline",
  description: `\`stages\` is the whole list in its order. A stage with opportunities cannot be removed or change its type: 409 CONFLICT with
\`details.stages\`. A new probability applies to opportunities that enter the stage later. \`isDefault: true\` makes this pipeline the default; there is always one.`,
  params: idParams,
  body: pipelinePatch,
  status: 200,
  response: pipeline,
  versioned: true,
  visibility: "everyone",
});

/** Routes of pipelines. */
export function pipelineRoutes(cell: Cell): void {
  cell.list(listPipelines, pipelines.lists);

  cell.command(createPipeline, async (context, tx) => {
    const { name, stages, isDefault = false } = context.body;
    const created: Pipeline = {
      pipelineId: uuidv7(),
      name,
      isDefault,
      stages: stagesOf(stages),
      createdAt: context.now,
      updatedAt: context.now,
      version: 1,
    };
    const demoted = isDefault ? await demote(tx, created, context.now) : [];
    return {
      changes: pipelines.insert(tx, created),
      audit: [audited("create", pipeline, {}, created), ...demoted],
      body: created,
      conflicts: defaultConflict,
    };
  });

  cell.read(getPipeline, "Pipeline", (context, tenant) => pipelines.find(tenant, context.params.id));

  cell.command(changePipeline, async (context, tx) => {
    const current = await requireVersion(context, tx, pipeline, await pipelines.find(tx, context.params.id));
    const { stages, ...rest } = context.body;
    if (current.isDefault && rest.isDefault === false)
      throw new Problem("CONFLICT", "This is the default pipeline: make another one the default instead");
    const next = applyPatch(current, stages ? { ...rest, stages: stagesOf(stages) } : rest, context.now);
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.pipelineId };
    const demoted = next.isDefault && !current.isDefault ? await demote(tx, next, context.now) : [];
    return {
      changes: pipelines.update(tx, next, current.version),
      audit: [audited("update", pipeline, current, next), ...demoted],
      body: next,
      conflicts: { ...defaultConflict, opportunities_stage_key: () => occupiedConflict(context, current, next) },
    };
  });
}

const defaultConflict = {
  pipelines_default: async () => new Problem("CONFLICT", "Another pipeline has just become the default; try again"),
};

async function occupiedConflict({ tenant }: Pick<RequestContext, "tenant">, before: Pipeline, after: Pipeline): Promise<Problem> {
  const ended = endedStages(before.stages, after.stages);
  const stages = await pipelines.occupiedStages(tenant.reader(), before.pipelineId, ended);
  return new Problem("CONFLICT", "A stage with opportunities on it can neither be removed nor change its type: move them first", {
    details: { stages },
  });
}

/** Makes the other one non-default, with an audit entry. */
async function demote(tx: TenantTx, chosen: Pipeline, now: string) {
  await tx.begin();
  const others = await pipelines.endOthersDefault(tx, chosen, now);
  return others.map((other) => audited("update", pipeline, { ...other, isDefault: true }, { ...other, isDefault: false }));
}
