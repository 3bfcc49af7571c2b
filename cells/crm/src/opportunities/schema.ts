import { currencyCode, day, id, money, nameText, nullable, resource, response, text } from "@cell/cell";
import { z } from "zod";
import { percentage, stageTypes } from "../pipelines/schema.ts";

const exampleId = "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10";
const currency = currencyCode().meta({ description: "By default the tenant's", examples: ["CNY"] });

/** What an opportunity can be given by a caller. */
const fields = {
  customerId: id().meta({ description: "The customer that may buy", examples: [exampleId] }),
  name: nameText().meta({ examples: ["年度采购"] }),
  amount: money().meta({ description: "By default 0" }),
  currency,
  pipelineId: id().meta({ description: "By default the default pipeline; a new one without a `stage` begins at its first open stage" }),
  stage: text(64, 1).meta({ description: "By default the pipeline's first open one", examples: ["prospecting"] }),
  probability: percentage()
    .nullable()
    .meta({ description: "In percent; by default, and with null, the stage's. 100 when won and 0 when lost, always", examples: [10] }),
  expectedCloseDate: day()
    .nullable()
    .meta({ examples: ["2026-03-31"] }),
  ownerId: text(128, 1).meta({ description: "The user who is responsible; by default the caller", examples: ["user-001"] }),
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
    probabilityOverridden: z.boolean().meta({ description: "The probability was given, not the stage's own" }),
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
export type OpportunityInput = z.infer<typeof opportunityInput>;

export const opportunityPatch = z.strictObject(fields).partial().meta({ id: "OpportunityPatch" });
export type OpportunityPatch = z.infer<typeof opportunityPatch>;

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
      .meta({ description: "null at its creation", examples: [null] }),
    toStage: z.string().meta({ examples: ["prospecting"] }),
    enteredAt: z.iso.datetime(),
    leftAt: z.iso.datetime().nullable().meta({ description: "null for the stage that it is in" }),
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
