import { amountFigure, currencyCode, day, type Given, id, moment, money, nameText, resource, response, uniqueText } from "@cell/cell";
import { z } from "zod";

export const contractStatuses = ["draft", "active", "completed", "void", "expired"] as const;
export type ContractStatus = (typeof contractStatuses)[number];

const customerId = id().meta({ description: "The customer who signed it" });

/** The fields of a contract that a caller may set. */
const fields = {
  opportunityId: id().nullable().meta({ description: "The opportunity that led to it; it must belong to the same customer" }),
  number: uniqueText(100, 1).meta({
    description: "Unique among the live contracts, in any case; generated if omitted",
    examples: ["C-2026-000123"],
  }),
  name: nameText().meta({ examples: ["年度采购合同"] }),
  amount: money({ positive: true }),
  currency: currencyCode().meta({ description: "Default: the tenant's; fixed from the first payment on", examples: ["CNY"] }),
  status: z.enum(contractStatuses).meta({
    description:
      "draft to active or void; active to completed, expired or void; expired to active or void; completed to active; void is final",
    examples: ["active"],
  }),
  signedAt: moment()
    .nullable()
    .meta({ description: "A time, or a date: its midnight in the tenant's timezone", examples: ["2026-01-15"] }),
  startDate: day()
    .nullable()
    .meta({ examples: ["2026-01-15"] }),
  endDate: day()
    .nullable()
    .meta({ description: "Not before startDate", examples: ["2026-12-31"] }),
};

const contractSchema = z
  .object({
    contractId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    customerId,
    ...fields,
    amount: money(),
    signedAt: z.iso
      .datetime()
      .nullable()
      .meta({ examples: ["2026-01-15T00:00:00.000Z"] }),
    receivedAmount: money().meta({ description: "Payments minus refunds, without void ones" }),
    outstandingAmount: money().meta({ description: "Amount still owed: never below 0, and 0 for a draft or void contract" }),
    paidRatio: amountFigure(z.number().meta({ description: "Received amount in percent of the amount", examples: [33.33] })),
    overpaid: amountFigure(z.boolean().meta({ description: "More was received than the amount" })),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int().meta({ description: "Payments increase it too" }),
  })
  .meta({ id: "Contract" });

export const contract = resource("contract", contractSchema, { id: "contractId", label: "number" });
export type Contract = Omit<z.infer<typeof contractSchema>, "tenantId">;

export const contractInput = z
  .strictObject({ customerId, ...fields })
  .partial()
  .required({ customerId: true, name: true, amount: true })
  .meta({ id: "ContractInput" });
export type ContractInput = Given<z.infer<typeof contractInput>>;

export const contractPatch = z.strictObject(fields).partial().meta({ id: "ContractPatch" });
export type ContractPatch = Given<z.infer<typeof contractPatch>>;

export const contractDeleted = response(z.object({ contractId: z.uuid(), deleted: z.literal(true) }).meta({ id: "ContractDeleted" }));

/** Totals of contracts in one currency. */
export const contractTotal = response(
  z
    .object({ currency: z.string(), count: z.int(), amount: money(), received: money(), outstanding: money() })
    .meta({ id: "ContractTotal" }),
);
