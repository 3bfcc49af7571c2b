import { assertWindow, type Condition, checkKnown, equals, id, instant, listQuery, not } from "@cell/cell";
import type { Tenant } from "@cell/postgres";
import { z } from "zod";
import { knownPipelines, knownStages } from "../pipelines/known.ts";
import { stageTypes } from "../pipelines/schema.ts";
import { arrived, asOf, oneOf, type StageExit } from "./lists.ts";

const slugs = z
  .string()
  .max(2_000)
  .transform((list) => list.split(",").map((slug) => slug.trim()));

/** The list's own parameters: filters, and the parameters by which reports link to the opportunities behind a figure. */
export const opportunityQuery = listQuery.extend({
  customerId: id().optional().meta({ description: "Only opportunities of this customer" }),
  pipelineId: id().optional().meta({ description: "Only opportunities in this pipeline" }),
  stage: slugs.optional().meta({
    description: "Only opportunities in this stage, or in one of several comma-separated ones",
    examples: ["proposal,negotiation"],
  }),
  status: slugs.optional().meta({
    description: "Only open, won or lost ones; several are comma-separated",
    pattern: "^(?:open|won|lost)(?:,(?:open|won|lost))*$",
    examples: ["open"],
  }),
  asOf: instant()
    .optional()
    .meta({
      description:
        "The opportunities as of this time: filters and order refer to it too, and later moves are ignored. Names and visibility are the current ones",
      examples: ["2026-03-01T00:00:00Z"],
    }),
  enteredStage: slugs
    .optional()
    .meta({ description: "Only opportunities that entered this stage, or one of several comma-separated ones" }),
  enteredPipelineId: z.uuid().optional().meta({ description: "The pipeline of that arrival, and of `passedStages` and `notEnteredStage`" }),
  enteredFrom: instant().optional().meta({ description: "That arrival was at this time or later" }),
  enteredTo: instant().optional().meta({ description: "That arrival was before this time" }),
  leftTo: z
    .string()
    .max(2_000)
    .transform((to): StageExit => (to === "STILL" || to === "PIPELINE" ? to : to.split(",").map((slug) => slug.trim())))
    .optional()
    .meta({ description: "What followed that arrival: one of these comma-separated stages, `STILL` in the stage, or another `PIPELINE`" }),
  passedStages: slugs.optional().meta({ description: "Only opportunities that have been in all of these comma-separated stages" }),
  notEnteredStage: slugs.optional().meta({ description: "Only opportunities that have been in none of these comma-separated stages" }),
});
export type OpportunityQuery = z.infer<typeof opportunityQuery>;

/** The conditions of the list's own parameters. Throws BAD_REQUEST for a stage, status or pipeline that the tenant does not have. */
export async function conditionsOf(query: OpportunityQuery, tenant: Tenant): Promise<Condition[]> {
  await checkParameters(query, tenant);
  const { customerId, pipelineId, stage, status, enteredStage, enteredFrom, enteredTo, leftTo } = query;
  const conditions: Condition[] = [];
  if (query.asOf !== undefined) conditions.push(asOf(query.asOf));
  if (customerId !== undefined) conditions.push(equals("customerId", customerId));
  if (pipelineId !== undefined) conditions.push(equals("pipelineId", pipelineId));
  if (stage !== undefined) conditions.push(oneOf("stage", stage));
  if (status !== undefined) conditions.push(oneOf("status", status));
  const known = { pipelineId: query.enteredPipelineId, asOf: query.asOf };
  if ([enteredStage, enteredFrom, enteredTo, leftTo].some((given) => given !== undefined))
    conditions.push(arrived({ ...known, stages: enteredStage, from: enteredFrom, to: enteredTo, stageExit: leftTo }));
  for (const passed of query.passedStages ?? []) conditions.push(arrived({ ...known, stages: [passed] }));
  if (query.notEnteredStage !== undefined) conditions.push(not(arrived({ ...known, stages: query.notEnteredStage })));
  return conditions;
}

async function checkParameters(query: OpportunityQuery, tenant: Tenant): Promise<void> {
  const { stage, status, enteredStage, passedStages, notEnteredStage, pipelineId, enteredPipelineId, leftTo } = query;
  if (query.enteredFrom !== undefined && query.enteredTo !== undefined)
    assertWindow(query.enteredFrom, query.enteredTo, "enteredTo", "enteredFrom");
  if (status) await checkKnown("status", stageTypes, status, tenant);
  for (const [path, id] of Object.entries({ pipelineId, enteredPipelineId }))
    if (id !== undefined) await checkKnown(path, knownPipelines, [id.toLowerCase()], tenant);
  const stages = { stage, enteredStage, passedStages, notEnteredStage, leftTo: typeof leftTo === "string" ? undefined : leftTo };
  for (const [path, asked] of Object.entries(stages)) if (asked) await checkKnown(path, knownStages, asked, tenant);
}

/** The same for routes that include the list's parameters, such as the export. */
export const opportunityParameters = { shape: opportunityQuery.shape, conditions: conditionsOf };
