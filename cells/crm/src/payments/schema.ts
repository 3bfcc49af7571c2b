import { amountFigure, currencyCode, type Given, id, moment, money, nullable, resource, response, text, uniqueText } from "@cell/cell";
import { z } from "zod";

export const paymentKinds = ["payment", "refund"] as const;
export const paymentStatuses = ["received", "void"] as const;

const contractId = id().meta({ description: "The contract that it pays" });

/** The fields of a payment that a caller may set. */
const fields = {
  amount: money({ positive: true }),
  currency: currencyCode().meta({ description: "The contract's currency; another one is rejected", examples: ["CNY"] }),
  paidAt: moment().meta({
    description: "A time, or a date: its midnight in the tenant's timezone; at most a day in the future",
    examples: ["2026-01-31"],
  }),
  method: nullable(text(100)).meta({ examples: ["bank transfer"] }),
  reference: nullable(uniqueText(255)).meta({
    description: "Unique on its contract among payments that are not void, compared like names",
    examples: ["TX-20260131-0001"],
  }),
  kind: z.enum(paymentKinds).meta({ description: "A refund goes back to the customer", examples: ["payment"] }),
  notes: nullable(text(10_000)),
};

const reason = nullable(text(1_000));

const paymentSchema = z
  .object({
    paymentId: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    contractId,
    customerId: z.uuid().meta({ description: "The contract's" }),
    ...fields,
    amount: money(),
    paidAt: z.iso.datetime().meta({ examples: ["2026-01-31T00:00:00.000Z"] }),
    status: z.enum(paymentStatuses).meta({ examples: ["received"] }),
    overpaid: amountFigure(z.boolean().meta({ description: "With it, more was received than the contract's amount" })),
    voidReason: reason.meta({ description: "Why it was voided, if given" }),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    version: z.int(),
  })
  .meta({ id: "Payment" });

export const payment = resource("payment", paymentSchema, { id: "paymentId", label: "reference" });
export type Payment = Omit<z.infer<typeof paymentSchema>, "tenantId">;

export const paymentInput = z
  .strictObject({ contractId, ...fields })
  .partial()
  .required({ contractId: true, amount: true, paidAt: true })
  .meta({ id: "PaymentInput" });
export type PaymentInput = Given<z.infer<typeof paymentInput>>;

export const paymentVoid = z
  .strictObject({
    reason: reason
      .optional()
      .meta({ description: "The reason; it is stored with the payment", examples: ["Booked on the wrong contract"] }),
  })
  .meta({ id: "PaymentVoid" });

/** Totals of payments in one currency; void ones are counted, but their amounts are not added. */
export const paymentTotal = response(
  z.object({ currency: z.string(), count: z.int(), received: money(), refunded: money(), net: money() }).meta({ id: "PaymentTotal" }),
);
