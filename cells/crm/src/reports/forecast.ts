import type { Day } from "@cell/cell";
import Big from "big.js";
import { type Link, within } from "./drill-down-links.ts";
import { type Basis, basisOf, byCurrency, type CurrencyConverter, countOf, plainAmounts, type Sums } from "./money.ts";
import { weighted } from "./pipeline-summary.ts";
import type { ForecastSums } from "./queries/repository.ts";
import type { Bucket, Window } from "./time-window.ts";

export interface ForecastInput {
  sums: readonly ForecastSums[];
  window: Window;
  period: "month" | "quarter";
  buckets: readonly Bucket[];
  /** The first date of each bucket, and the first one after the last bucket. */
  days: readonly Day[];
  /** Opportunities expected to close before this date are overdue. */
  today: Day;
  converter: CurrencyConverter;
  link: Link;
}

const outside = { overdue: -1, undated: -2 };
const bucketNames = ["openAmount", "weightedAmount", "bestCase", "commit", "closedWon", "forecast"] as const;
const outsideNames = ["amount", "weightedAmount"] as const;

/** Expected and actual wins in the periods of the window. */
export function forecastOf({ sums, window, period, buckets, days, today, converter, link }: ForecastInput) {
  const spokenOf = sums.filter(({ bucket }) => bucket !== null && bucket !== 0 && bucket <= buckets.length);
  const basis = basisOf(spokenOf, converter);
  const { currency, converted, missingRates } = basis;
  return {
    currency,
    converted,
    missingRates,
    window,
    period,
    buckets: buckets.map((bucket, index) => {
      const rows = spokenOf.filter((row) => row.bucket === index + 1);
      const amounts = rows.map(bucketSums);
      const [fromDay = "", toDay = ""] = days.slice(index, index + 2);
      const open = [`expectedCloseDate[gte]:${fromDay > today ? fromDay : today}`, `expectedCloseDate[lt]:${toDay}`];
      return {
        ...bucket,
        openCount: countOf(rows.filter(({ isWon }) => !isWon)),
        closedWonCount: countOf(rows.filter(({ isWon }) => isWon)),
        ...plainAmounts(amounts, bucketNames, basis),
        byCurrency: byCurrency(amounts, bucketNames),
        links: {
          open: link({ status: "open", filter: open }),
          bestCase: link({ status: "open", filter: [...open, "probability[gte]:50"] }),
          commit: link({ status: "open", filter: [...open, "probability[gte]:80"] }),
          closedWon: link({ status: "won", filter: within("closedAt", bucket) }),
        },
      };
    }),
    overdue: outsideOf("overdue", [`expectedCloseDate[lt]:${today}`], spokenOf, basis, link),
    undated: outsideOf("undated", ["expectedCloseDate[isNull]:true"], spokenOf, basis, link),
  };
}

function bucketSums({ currency, count, isWon, amount, weighted: sum, bestCase, commit }: ForecastSums): Sums {
  const won = new Big(isWon ? amount : 0);
  const open = (value: string | Big) => (isWon ? new Big(0) : new Big(value));
  const weightedAmount = open(weighted(sum));
  return {
    currency,
    count,
    amounts: {
      openAmount: open(amount),
      weightedAmount,
      bestCase: open(bestCase),
      commit: open(commit),
      closedWon: won,
      forecast: won.plus(weightedAmount),
    },
  };
}

function outsideOf(kind: keyof typeof outside, filter: string[], sums: readonly ForecastSums[], basis: Basis, link: Link) {
  const rows = sums.filter(({ bucket }) => bucket === outside[kind]);
  const amounts = rows.map(({ currency, count, amount, weighted: sum }) => ({
    currency,
    count,
    amounts: { amount: new Big(amount), weightedAmount: weighted(sum) },
  }));
  return {
    count: countOf(rows),
    ...plainAmounts(amounts, outsideNames, basis),
    byCurrency: byCurrency(amounts, outsideNames),
    links: { count: link({ status: "open", filter }) },
  };
}
