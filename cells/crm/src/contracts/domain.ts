import { instantOf } from "@cell/cell";
import { badField, Problem } from "@cell/problem";
import Big from "big.js";
import type { Contract, ContractInput, ContractPatch, ContractStatus } from "./schema.ts";

/** What a tenant does with more than a contract's amount. */
export type Overpay = "accept" | "reject";

/** What follows from a contract's amount and its payments. */
type Computed = Pick<Contract, "outstandingAmount" | "paidRatio" | "overpaid">;

/** A contract as it is written: without what is computed. */
export type WrittenContract = Omit<Contract, keyof Computed | "receivedAmount">;

/** The statuses in which a contract owes nothing, whatever its amount: it is not agreed yet, or not any more. */
export const owingNothing: readonly ContractStatus[] = ["draft", "void"];

/** A contract with what follows from its amount, its status and what was received. */
export function settledContract<Row extends Pick<Contract, "amount" | "receivedAmount" | "status">>(row: Row): Row & Computed {
  const [amount, received] = [new Big(row.amount), new Big(row.receivedAmount)];
  const overpaid = received.gt(amount);
  return {
    ...row,
    outstandingAmount: overpaid || owingNothing.includes(row.status) ? "0" : amount.minus(received).toFixed(),
    paidRatio: received.times(100).div(amount).round(2, Big.roundHalfUp).toNumber(),
    overpaid,
  };
}

/** A contract without what is computed, as the audit trail has it. */
export function written({ receivedAmount, outstandingAmount, paidRatio, overpaid, ...rest }: Contract): WrittenContract {
  return rest;
}

const blank = { opportunityId: null, status: "draft" as const, signedAt: null, startDate: null, endDate: null };

/** A new contract out of what a caller gave. Throws BAD_REQUEST for an end before the start. */
export function newContract(
  input: ContractInput,
  identity: { contractId: string; number: string; currency: string; timezone: string; now: string },
): Contract {
  const { contractId, number, currency, timezone, now } = identity;
  const made = {
    ...blank,
    number,
    currency,
    ...datedIn(timezone, input),
    contractId,
    receivedAmount: "0",
    createdAt: now,
    updatedAt: now,
    version: 1,
  };
  checkDates(made);
  return settledContract(made);
}

/** A change with its dates as instants. */
export function datedIn<Fields extends ContractPatch>(timezone: string, given: Fields): Fields {
  return given.signedAt ? { ...given, signedAt: instantOf(given.signedAt, timezone) } : given;
}

/** The statuses that each one may be followed by. */
export const moves: Readonly<Record<ContractStatus, readonly ContractStatus[]>> = {
  draft: ["active", "void"],
  active: ["completed", "expired", "void"],
  expired: ["active", "void"],
  completed: ["active"],
  void: [],
};

/** Throws CONFLICT for a move that is not legal, BAD_REQUEST for an end before the start. */
export function checkChange(current: WrittenContract, next: WrittenContract): void {
  const legal = moves[current.status];
  if (next.status !== current.status && !legal.includes(next.status)) {
    const says = legal.length === 0 ? "stays so" : `can become ${legal.join(" or ")}`;
    throw new Problem("CONFLICT", `A contract that is ${current.status} ${says}, not ${next.status}`, {
      details: { field: "status", status: current.status, legal },
    });
  }
  checkDates(next);
}

/** Throws CONFLICT for an amount made less than what was received, where the tenant rejects overpaying. */
export function checkOverpaid(current: Contract, next: Contract, overpay: Overpay): void {
  const isLess = new Big(next.amount).lt(current.amount);
  if (overpay === "reject" && isLess && new Big(next.receivedAmount).gt(next.amount)) throw overpaidProblem("amount");
}

/** The refusal of a change by which a contract would have received more than its amount. It tells neither figure. */
export function overpaidProblem(field: string): Problem {
  return new Problem("CONFLICT", "The contract would have received more than its amount, which the tenant's settings reject", {
    details: { field, setting: "payments.overpay" },
  });
}

function checkDates({ startDate, endDate }: Pick<Contract, "startDate" | "endDate">): void {
  if (startDate !== null && endDate !== null && endDate < startDate)
    throw badField("endDate", "OUT_OF_RANGE", "must not be before startDate");
}

/** The n-th number that is generated. */
export function generatedNumber(year: number, n: number): string {
  return `C-${year}-${String(n).padStart(6, "0")}`;
}
