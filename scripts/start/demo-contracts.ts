import { pick } from "./demo-data.ts";
import { type DemoOpportunity, daysBefore } from "./demo-deals.ts";

/** A contract as `POST /contracts` takes it, without the ids of other records. */
export interface DemoContract {
  number: string;
  name: string;
  amount: number;
  currency: string;
  status: "draft" | "active" | "completed" | "expired";
  signedAt: string | null;
  startDate: string | null;
  endDate: string | null;
}

/** A payment as `POST /payments` takes it, without its contract. */
export interface DemoPayment {
  amount: number;
  paidAt: string;
  kind: "payment" | "refund";
  method: string;
  reference: string;
}

/** Contract and payments of a won opportunity. */
export interface DemoDeal {
  opportunity: DemoOpportunity;
  contract: DemoContract;
  payments: DemoPayment[];
}

/** Shares in percent, due 10, 55 and 100 days after the signature. */
const terms = [[30, 40, 30], [50, 50], [100]] as const;
const methods = ["bank transfer", "bank transfer", "bank acceptance", "支付宝"] as const;

/**
 * The contracts of the opportunities won up to a day: the newest are drafts, some are overdue, the first paid one is overpaid, the second
 * partly refunded.
 */
export function demoDeals(opportunities: readonly DemoOpportunity[], day: string): DemoDeal[] {
  let settled = 0;
  return opportunities
    .filter(({ stage }) => stage === "won")
    .map((opportunity, index) => {
      const wonDaysAgo = Math.floor((Date.parse(day) - Date.parse(opportunity.stageHistory.at(-1)?.enteredAt ?? day)) / 86_400_000) + 1;
      const signedDaysAgo = wonDaysAgo - 2 - ((index * 5) % 9);
      const isSigned = signedDaysAgo > 0;
      // Some had a final discount.
      const amount = index % 6 === 2 ? (opportunity.amount * 95) / 100 : opportunity.amount;
      const endDaysAgo = signedDaysAgo - pick([120, 180, 365], index);
      const payments = isSigned ? paymentsOf(index, amount, signedDaysAgo, day) : [];
      const isSettled = payments.reduce((sum, payment) => sum + payment.amount, 0) === amount;
      if (isSettled) settled += 1;
      const [last] = payments.slice(-1);
      if (last && isSettled && settled === 1) last.amount += 1_000;
      if (last && isSettled && settled === 2)
        payments.push({ ...last, amount: Math.round(amount / 10), kind: "refund", reference: `${last.reference}-R` });
      const unsettled = endDaysAgo > 0 && index % 2 === 0 ? "expired" : "active";
      const contract: DemoContract = {
        number: `HT-${daysBefore(day, signedDaysAgo).slice(0, 4)}-${String(index + 1).padStart(4, "0")}`,
        name: `${opportunity.name}${/[一-龥]/.test(opportunity.name) ? "合同" : " contract"}`,
        amount,
        currency: opportunity.currency,
        status: !isSigned ? "draft" : isSettled ? "completed" : unsettled,
        signedAt: isSigned ? daysBefore(day, signedDaysAgo) : null,
        startDate: isSigned ? daysBefore(day, signedDaysAgo).slice(0, 10) : null,
        endDate: isSigned ? daysBefore(day, endDaysAgo).slice(0, 10) : null,
      };
      return { opportunity, contract, payments };
    });
}

/** The payments up to the day; every ninth customer stops after the first part, every seventeenth has paid nothing. */
function paymentsOf(index: number, amount: number, signedDaysAgo: number, day: string): DemoPayment[] {
  const shares: readonly number[] = pick(terms, index);
  const first = Math.round((amount * (shares[0] ?? 100)) / 100);
  const second = shares.length === 3 ? Math.round((amount * 40) / 100) : amount - first;
  const parts = [first, second, amount - first - second].slice(0, shares.length);
  const willing = index % 17 === 7 ? 0 : index % 9 === 4 ? 1 : parts.length;
  return parts.slice(0, willing).flatMap((part, number) => {
    const paidDaysAgo = signedDaysAgo - 10 - 45 * number - ((index * 7 + number) % 12) + 3;
    if (paidDaysAgo < 1) return [];
    const paidAt = daysBefore(day, paidDaysAgo, 3 + (index % 5));
    const reference = `TX-${paidAt.slice(0, 10).replaceAll("-", "")}-${String(index + 1).padStart(4, "0")}${number + 1}`;
    return [{ amount: part, paidAt, kind: "payment" as const, method: pick(methods, index + number), reference }];
  });
}
