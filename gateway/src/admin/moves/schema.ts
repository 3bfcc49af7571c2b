import { z } from "zod";
import { page, tenantIdSchema, timeSchema } from "../schemas.ts";

export const moveSchema = z
  .strictObject({
    moveId: z.int().meta({ example: 1 }),
    tenantId: tenantIdSchema,
    cell: z.string().meta({ example: "crm" }),
    from: z.string().meta({ example: "crm-1" }),
    to: z.string().meta({ example: "crm-2" }),
    state: z
      .enum(["copying", "paused", "flipped", "aborting", "done", "failed"])
      .describe("paused: writes fail; from flipped on: the tenant is on the new partition; failed: it stayed where it was"),
    step: z.string().describe("The current step, in words").meta({ example: "copying" }),
    rows: z.int().describe("Rows copied so far"),
    pauseMs: z.int().nullable().describe("How long writes failed"),
    startedAt: timeSchema,
    finishedAt: timeSchema.nullable(),
    failure: z.string().nullable().describe("Why it was reverted"),
    leftover: z.string().nullable().describe("The partition with a remaining copy, which is not served: DELETE …/copies drops it"),
  })
  .meta({ id: "Move" });
export type MoveResponse = z.infer<typeof moveSchema>;

export const moveListSchema = page(moveSchema).meta({ id: "MoveList" });
export const moveCreateSchema = z
  .strictObject({
    to: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,29}-\d{1,4}$/, "must be a partition, such as crm-2")
      .meta({ example: "crm-2" }),
  })
  .meta({ id: "MoveCreate" });
export const copiesDroppedSchema = z
  .strictObject({
    tenantId: tenantIdSchema,
    dropped: z.array(z.string().meta({ example: "crm-1" })).describe("The partitions that had a copy"),
  })
  .meta({ id: "CopiesDropped" });
