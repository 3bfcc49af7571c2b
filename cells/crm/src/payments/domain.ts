import { instantOf } from "@cell/cell";
import { badField, Problem } from "@cell/problem";
import Big from "big.js";
import { type Overpay, overpaidProblem } from "../contracts/domain.ts";
import type { Contract } from "../contracts/schema.ts";
import type { Payment, PaymentInput } from "./schema.ts";

type PaidContract = Pick<Contract, "contractId" | "customerId" | "amount" | "currency" | "status" | "receivedAmount">;

const blank = { method: null, reference: null, kind: "payment" as const, notes: null, voidReason: null };
const dayMs = 24 * 60 * 60 * 1000;

/** The change of a contract's received amount by a payment. */
export function effectOf({ kind, amount }: Pick<Payment, "kind" | "amount">): Big {
  return kind === "refund" ? new Big(0).minus(amount) : new Big(amount);
}

/** The time of payment. Throws BAD_REQUEST for more than a day in the future. */
export function paidAtOf(moment: string, timezone: string, now: string): string {
  const paidAt = instantOf(moment, timezone);
  if (Date.parse(paidAt) > Date.parse(now) + dayMs) throw badField("paidAt", "OUT_OF_RANGE", "must be at most a day in the future");
  return paidAt;
}

/** A payment after a write, and its contract's received amount. */
export interface Booked {
  payment: Payment;
  receivedAmount: string;
}

/**
 * A new payment on a contract. Throws BAD_REQUEST for another currency. Throws CONFLICT for a contract that accepts no payments, for a
 * refund of more than was received, and for an overpayment that the tenant rejects.
 */
export function newPayment(
  input: PaymentInput,
  contract: PaidContract,
  { paymentId, paidAt, now, overpay }: { paymentId: string; paidAt: string; now: string; overpay: Overpay },
): Booked {
  const { contractId, customerId, currency, status } = contract;
  if (status === "draft" || status === "void")
    throw new Problem("CONFLICT", `A contract in status ${status} takes no payments`, { details: { field: "contractId", status } });
  if (input.currency !== undefined && input.currency !== currency)
    throw badField("currency", "INVALID_FORMAT", `must be the contract's currency, ${currency}`);
  const given = { ...blank, ...input };
  const { receivedAmount, overpaid } = received(contract, effectOf(given), overpay, "A refund cannot exceed what was received");
  const payment: Payment = {
    ...given,
    paymentId,
    contractId,
    customerId,
    currency,
    paidAt,
    status: "received",
    overpaid,
    createdAt: now,
    updatedAt: now,
    version: 1,
  };
  return { payment, receivedAmount };
}

/**
 * A voided payment, with the reason if there is one. Throws CONFLICT if its contract would then have refunded more than it received, or
 * would be overpaid without the voided refund.
 */
export function voided(
  payment: Payment,
  contract: PaidContract,
  { reason, now, overpay }: { reason: string | null; now: string; overpay: Overpay },
): Booked {
  const undone = new Big(0).minus(effectOf(payment));
  const { receivedAmount } = received(contract, undone, overpay, "Refunds depend on this payment; void them first");
  return { payment: { ...payment, status: "void", voidReason: reason, updatedAt: now, version: payment.version + 1 }, receivedAmount };
}

/** A contract's received amount after a change, and whether it exceeds the amount. Throws CONFLICT for an invalid change. */
function received({ amount, receivedAmount }: PaidContract, change: Big, overpay: Overpay, belowZero: string) {
  const after = change.plus(receivedAmount);
  if (after.lt(0)) throw new Problem("CONFLICT", belowZero);
  const overpaid = after.gt(amount);
  if (overpaid && change.gt(0) && overpay === "reject") throw overpaidProblem("amount");
  return { receivedAmount: after.toFixed(), overpaid };
}
