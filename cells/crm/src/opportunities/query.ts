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

/** The list's own parameters: besides what it shows, they are how reports name the opportunities behind a figure. */
export const opportunityQuery = listQuery.extend({
  customerId: id().optional().meta({ description: "Only this customer's" }),
  pipelineId: id().optional().meta({ description: "Only those in this pipeline" }),
  stage: slugs
    .optional()
    .meta({ description: "Only those in this stage, or in one of several by comma", examples: ["proposal,negotiation"] }),
  status: slugs.optional().meta({
    description: "Only open, won or lost ones, or several by comma",
    pattern: "^(?:open|won|lost)(?:,(?:open|won|lost))*$",
    examples: ["open"],
  }),
  asOf: instant()
    .optional()
    .meta({
      description:
        "The opportunities as they were then: filters and order speak of then, too; later moves are not known. Names and who may see a record are today's",
      examples: ["2026-03-01T00:00:00Z"],
    }),
  enteredStage: slugs.optional().meta({ description: "Only those that came into this stage, or into one of several by comma" }),
  enteredPipelineId: z
    .uuid()
    .optional()
    .meta({ description: "That arrival, and those of `passedStages` and `notEnteredStage`, were in this pipeline" }),
  enteredFrom: instant().optional().meta({ description: "That arrival was then or later" }),
  enteredTo: instant().optional().meta({ description: "That arrival was before then" }),
  leftTo: z
    .string()
    .max(2_000)
    .transform((to): StageExit => (to === "STILL" || to === "PIPELINE" ? to : to.split(",").map((slug) => slug.trim())))
    .optional()
    .meta({ description: "What followed that arrival: one of these stages by comma, `STILL` there, or another `PIPELINE`" }),
  passedStages: slugs.optional().meta({ description: "Only those that have been in all of these stages, by comma" }),
  notEnteredStage: slugs.optional().meta({ description: "Only those that have been in none of these stages, by comma" }),
});
export type OpportunityQuery = z.infer<typeof opportunityQuery>;

/** What the list's own parameters ask for. Throws BAD_REQUEST for a stage, status or pipeline that the tenant does not know. */
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

/** The same for whoever has the list's parameters among its own, such as the export. */
export const opportunityParameters = { shape: opportunityQuery.shape, conditions: conditionsOf };
