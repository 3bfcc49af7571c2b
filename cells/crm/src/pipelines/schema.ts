import { type Given, nameText, resource, text } from "@cell/cell";
import { z } from "zod";

export const stageTypes = ["open", "won", "lost"] as const;
export type StageType = (typeof stageTypes)[number];

/** A probability in percent, with at most two decimals. */
export function percentage() {
  return z
    .number()
    .min(0)
    .max(100)
    .refine((value) => Number(value.toFixed(2)) === value, "may have at most two decimals");
}

const stageFields = {
  stage: text(64, 1)
    .refine((value) => /^[a-z0-9]+([_-][a-z0-9]+)*$/.test(value), "must be a slug: a-z, 0-9 and single hyphens or underscores between them")
    .meta({ description: "Names the stage in its pipeline", examples: ["proposal"] }),
  name: text(100, 1).meta({ examples: ["Proposal"] }),
  type: z.enum(stageTypes).meta({ description: "The status of opportunities in this stage" }),
  probability: percentage().meta({
    description: "Probability of winning in percent; always 100 for the won stage and 0 for the lost one",
    examples: [50],
  }),
};

const stageSchema = z.object(stageFields).meta({ id: "PipelineStage" });
export type Stage = z.infer<typeof stageSchema>;

const stageInput = z
  .strictObject({ ...stageFields, name: stageFields.name.optional(), probability: stageFields.probability.optional() })
  .meta({ id: "PipelineStageInput" });
export type StageInput = Given<z.infer<typeof stageInput>>;

const exampleStages = [
  { stage: "contacted", name: "Contacted", type: "open", probability: 25 },
  { stage: "offered", name: "Offered", type: "open", probability: 60 },
  { stage: "won", name: "Won", type: "won", probability: 100 },
  { stage: "lost", name: "Lost", type: "lost", probability: 0 },
];

const fields = {
  name: nameText().meta({ examples: ["Partner sales"] }),
  isDefault: z
    .boolean()
    .meta({ description: "Used if a request names no pipeline; making one the default makes the previous one non-default" }),
  stages: z
    .array(stageInput)
    .min(3)
    .max(50)
    .meta({ description: "In order: one or more open ones, exactly one won and one lost", examples: [exampleStages] }),
};

const pipelineSchema = z
  .object({
    pipelineId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    name: fields.name,
    isDefault: fields.isDefault,
    stages: z.array(stageSchema).meta({ examples: [exampleStages] }),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  })
  .meta({ id: "Pipeline" });

export const pipeline = resource("pipeline", pipelineSchema, { id: "pipelineId", label: "name" });
export type Pipeline = Omit<z.infer<typeof pipelineSchema>, "tenantId">;

export const pipelineInput = z.strictObject(fields).partial().required({ name: true, stages: true }).meta({ id: "PipelineInput" });

export const pipelinePatch = z.strictObject(fields).partial().meta({ id: "PipelinePatch" });
