import { instantOf, yearOf } from "@cell/cell";
import { Problem } from "@cell/problem";
import Big from "big.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Overpay, settledContract } from "../contracts/domain.ts";
import { effectOf, newPayment, paidAtOf, voided } from "./domain.ts";
import type { Payment, PaymentInput } from "./schema.ts";

const now = "2026-03-01T12:00:00.000Z";
const identity = { paymentId: "p", paidAt: now, now };

const contractOf = (amount: string, receivedAmount: string) => ({
  contractId: "c",
  customerId: "k",
  amount,
  receivedAmount,
  currency: "CNY",
  status: "active" as const,
});

const cents = (max: number) => fc.integer({ min: 1, max }).map((value) => new Big(value).div(10_000).toFixed());

const step = fc.oneof(
  fc.record({ register: fc.record({ kind: fc.constantFrom("payment", "refund"), amount: cents(5_000_000) }) }),
  fc.record({ void: fc.nat(20) }),
);

const overpay = fc.constantFrom<Overpay>("accept", "reject");

test("after any payments, refunds and voids: received is their sum, never below 0, outstanding and ratio follow from it, and reject holds it at the amount", () => {
  fc.assert(
    fc.property(cents(10_000_000), overpay, fc.array(step, { maxLength: 30 }), (amount, policy, steps) => {
      const payments: Payment[] = [];
      let received = new Big(0);
      for (const next of steps) {
        const contract = contractOf(amount, received.toFixed());
        try {
          if ("void" in next) {
            const payment = payments[next.void];
            if (payment?.status !== "received") continue;
            const booked = voided(payment, contract, { reason: null, now, overpay: policy });
            payments[next.void] = booked.payment;
            received = new Big(booked.receivedAmount);
          } else {
            const { payment, receivedAmount } = newPayment({ contractId: "c", paidAt: now, ...next.register } as PaymentInput, contract, {
              ...identity,
              overpay: policy,
            });
            payments.push(payment);
            received = new Big(receivedAmount);
            expect(payment.overpaid).toBe(received.gt(amount));
          }
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          expect(error.code).toBe("CONFLICT");
        }
      }
      const sum = payments
        .filter(({ status }) => status === "received")
        .reduce((total, payment) => total.plus(effectOf(payment)), new Big(0));
      expect(received.eq(sum) && received.gte(0)).toBe(true);
      if (policy === "reject") expect(received.lte(amount)).toBe(true);
      const { outstandingAmount, paidRatio, overpaid } = settledContract({ amount, receivedAmount: received.toFixed(), status: "active" });
      expect(outstandingAmount).toBe(received.gt(amount) ? "0" : new Big(amount).minus(received).toFixed());
      expect(overpaid).toBe(received.gt(amount));
      expect(new Big(paidRatio).times(amount).div(100).minus(received).abs().lte(new Big(amount).times("0.00005001"))).toBe(true);
    }),
  );
});

test.each([
  ["0", 0],
  ["1", 33.33],
  ["2", 66.67],
  ["3", 100],
  ["4", 133.33],
])("%s of 3 paid is %d percent", (receivedAmount, ratio) => {
  expect(settledContract({ amount: "3", receivedAmount, status: "active" }).paidRatio).toBe(ratio);
});

test.each([
  ["2026-01-31", "UTC", "2026-01-31T00:00:00.000Z"],
  ["2026-01-31", "Asia/Shanghai", "2026-01-30T16:00:00.000Z"],
  ["2026-03-08", "America/New_York", "2026-03-08T05:00:00.000Z"],
  ["2026-03-09", "America/New_York", "2026-03-09T04:00:00.000Z"],
  ["2026-11-01", "America/New_York", "2026-11-01T04:00:00.000Z"],
  ["1900-06-01", "Asia/Shanghai", "1900-05-31T15:54:17.000Z"],
  ["2026-01-31T08:00:00+08:00", "America/New_York", "2026-01-31T00:00:00.000Z"],
])("%s in %s is %s", (moment, timezone, instant) => {
  expect(instantOf(moment, timezone)).toBe(instant);
});

test("the year is the tenant's", () => {
  expect([yearOf("2026-12-31T20:00:00.000Z", "UTC"), yearOf("2026-12-31T20:00:00.000Z", "Asia/Shanghai")]).toEqual([2026, 2027]);
});

test("a payment is at most a day in the future", () => {
  expect(paidAtOf("2026-03-02T12:00:00Z", "UTC", now)).toBe("2026-03-02T12:00:00.000Z");
  expect(() => paidAtOf("2026-03-02T12:00:01Z", "UTC", now)).toThrow("at most a day in the future");
});
