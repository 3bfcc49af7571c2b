import { currencyCode, day, type Given, id, money, nameText, nullable, resource, response, text } from "@cell/cell";
import { z } from "zod";
import { percentage, stageTypes } from "../pipelines/schema.ts";

const exampleId = "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10";
const currency = currencyCode().meta({ description: "Default: the tenant's", examples: ["CNY"] });

/** The fields of an opportunity that a caller may set. */
const fields = {
  customerId: id().meta({ description: "The prospective buyer", examples: [exampleId] }),
  name: nameText().meta({ examples: ["年度采购"] }),
  amount: money().meta({ description: "By default 0" }),
  currency,
  pipelineId: id().meta({
    description: "Default: the default pipeline; a changed pipeline without a `stage` starts at its first open stage",
  }),
  stage: text(64, 1).meta({ description: "Default: the pipeline's first open stage", examples: ["prospecting"] }),
  probability: percentage()
    .nullable()
    .meta({ description: "In percent; default, and with null: the stage's. Always 100 if won and 0 if lost", examples: [10] }),
  expectedCloseDate: day()
    .nullable()
    .meta({ examples: ["2026-03-31"] }),
  ownerId: text(128, 1).meta({ description: "The responsible user; default: the caller", examples: ["user-001"] }),
  lostReason: nullable(text(1_000)).meta({
    description: "Required on entering a lost stage; null in all others",
    examples: ["price"],
  }),
};

const probability = percentage().meta({ examples: [10] });

const opportunitySchema = z
  .object({
    opportunityId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    ...fields,
    status: z.enum(stageTypes).meta({ description: "The stage's type", examples: ["open"] }),
    probability,
    probabilityOverridden: z.boolean().meta({ description: "The probability was given and is not the stage's" }),
    stageEnteredAt: z.iso.datetime(),
    closedAt: z.iso.datetime().nullable().meta({ description: "When it was won or lost" }),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  })
  .meta({ id: "Opportunity" });

export const opportunity = resource("opportunity", opportunitySchema, { id: "opportunityId", label: "name" });
export type Opportunity = Omit<z.infer<typeof opportunitySchema>, "tenantId">;

export const opportunityInput = z
  .strictObject(fields)
  .partial()
  .required({ customerId: true, name: true })
  .meta({ id: "OpportunityInput" });
export type OpportunityInput = Given<z.infer<typeof opportunityInput>>;

export const opportunityPatch = z.strictObject(fields).partial().meta({ id: "OpportunityPatch" });
export type OpportunityPatch = Given<z.infer<typeof opportunityPatch>>;

export const opportunityDeleted = response(
  z.object({ opportunityId: z.uuid(), deleted: z.literal(true) }).meta({ id: "OpportunityDeleted" }),
);

const stageMoveSchema = z
  .object({
    opportunityId: z.uuid(),
    pipelineId: z.uuid(),
    fromStage: z
      .string()
      .nullable()
      .meta({ description: "null for its first stage", examples: [null] }),
    toStage: z.string().meta({ examples: ["prospecting"] }),
    enteredAt: z.iso.datetime(),
    leftAt: z.iso.datetime().nullable().meta({ description: "null for its current stage" }),
    amount: fields.amount,
    currency: z.string().meta({ examples: ["CNY"] }),
    probability,
    expectedCloseDate: fields.expectedCloseDate,
    actorId: z.string().meta({ examples: ["user-001"] }),
    requestId: z.string().meta({ examples: ["req-uuid-001"] }),
  })
  .meta({ id: "StageMove" });

export const stageMove = resource("stageMove", stageMoveSchema, { id: "opportunityId", label: "toStage" });
export type StageMove = z.infer<typeof stageMoveSchema>;
