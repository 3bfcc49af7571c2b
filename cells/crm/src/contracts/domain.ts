import { instantOf } from "@cell/cell";
import { badField, Problem } from "@cell/problem";
import Big from "big.js";
import type { Contract, ContractInput, ContractPatch, ContractStatus } from "./schema.ts";

/** Handling of payments beyond a contract's amount. */
export type Overpay = "accept" | "reject";

/** The fields computed from a contract's amount and payments. */
type Computed = Pick<Contract, "outstandingAmount" | "paidRatio" | "overpaid">;

/** A contract as it is stored: without computed fields. */
export type WrittenContract = Omit<Contract, keyof Computed | "receivedAmount">;

/** Statuses in which nothing is owed, whatever the amount: the contract is not agreed yet, or no longer. */
export const owingNothing: readonly ContractStatus[] = ["draft", "void"];

/** A contract with the fields computed from its amount, status and payments. */
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

/** A contract without computed fields, as the audit trail stores it. */
export function written({ receivedAmount, outstandingAmount, paidRatio, overpaid, ...rest }: Contract): WrittenContract {
  return rest;
}

const blank = { opportunityId: null, status: "draft" as const, signedAt: null, startDate: null, endDate: null };

/** A new contract from a caller's input. Throws BAD_REQUEST if it ends before it starts. */
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

/** A patch with its dates as instants. */
export function datedIn<Fields extends ContractPatch>(timezone: string, given: Fields): Fields {
  return given.signedAt ? { ...given, signedAt: instantOf(given.signedAt, timezone) } : given;
}

/** The statuses that may follow each status. */
export const moves: Readonly<Record<ContractStatus, readonly ContractStatus[]>> = {
  draft: ["active", "void"],
  active: ["completed", "expired", "void"],
  expired: ["active", "void"],
  completed: ["active"],
  void: [],
};

/** Throws CONFLICT for an illegal change of status, BAD_REQUEST for an end before the start. */
export function checkChange(current: WrittenContract, next: WrittenContract): void {
  const legal = moves[current.status];
  if (next.status !== current.status && !legal.includes(next.status)) {
    const says = legal.length === 0 ? "stays so" : `can become ${legal.join(" or ")}`;
    throw new Problem("CONFLICT", `A contract in status ${current.status} ${says}, not ${next.status}`, {
      details: { field: "status", status: current.status, legal },
    });
  }
  checkDates(next);
}

/** Throws CONFLICT if the amount becomes less than what was received, if the tenant rejects overpayment. */
export function checkOverpaid(current: Contract, next: Contract, overpay: Overpay): void {
  const isLess = new Big(next.amount).lt(current.amount);
  if (overpay === "reject" && isLess && new Big(next.receivedAmount).gt(next.amount)) throw overpaidProblem("amount");
}

/** The error for a change by which a contract would have received more than its amount. It reveals neither figure. */
export function overpaidProblem(field: string): Problem {
  return new Problem("CONFLICT", "The contract would have received more than its amount, which the tenant's settings reject", {
    details: { field, setting: "payments.overpay" },
  });
}

function checkDates({ startDate, endDate }: Pick<Contract, "startDate" | "endDate">): void {
  if (startDate !== null && endDate !== null && endDate < startDate)
    throw badField("endDate", "OUT_OF_RANGE", "must not be before startDate");
}

/** The n-th generated number. */
export function generatedNumber(year: number, n: number): string {
  return `C-${year}-${String(n).padStart(6, "0")}`;
}
