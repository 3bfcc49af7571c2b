import Big from "big.js";
import { type Link, within } from "./drill-down-links.ts";
import { openStages, shownStage } from "./funnel-stages.ts";
import {
  averageDays,
  type Basis,
  basisOf,
  byCurrency,
  type CurrencyConverter,
  countOf,
  percent,
  plainAmounts,
  type Sums,
  totalOf,
} from "./money.ts";
import type { EventSums } from "./queries/events.ts";
import type { StageSums } from "./queries/open-pipeline.ts";
import type { StageRow } from "./queries/repository.ts";
import type { Window } from "./time-window.ts";

const names = ["amount", "weightedAmount"] as const;

/** Percent of an amount by its probability, exact. */
export function weighted(sum: string): Big {
  return new Big(sum).times("0.01");
}

function amountsOf(rows: readonly StageSums[]): Sums[] {
  return rows.map(({ currency, count, amount, weighted: sum }) => ({
    currency,
    count,
    amounts: { amount: new Big(amount), weightedAmount: weighted(sum) },
  }));
}

const secondsIn = (rows: readonly StageSums[], name: "ageSeconds" | "stageSeconds") =>
  rows.reduce((total, row) => total.plus(row[name]), new Big(0));
const sumOf = (rows: readonly StageSums[], name: "stuck" | "overdue") => rows.reduce((total, row) => total + row[name], 0);

export interface SummaryInput {
  stages: readonly StageRow[];
  /** Open opportunities. */
  open: readonly StageSums[];
  events: readonly EventSums[];
  window: Window | null;
  /** Opportunities that entered their stage before this are stuck. */
  stuckBefore: string;
  /** Opportunities expected to close before this date are overdue. */
  today: string;
  converter: CurrencyConverter;
  link: Link;
}

/** Open opportunities by stage, and the window's activity. */
export function summaryOf({ stages, open, events, window, stuckBefore, today, converter, link }: SummaryInput) {
  const closed = events.filter(({ kind }) => kind !== "created");
  const basis = basisOf([...open, ...closed], converter);
  const stuck = [`stageEnteredAt[lt]:${stuckBefore}`];
  const { currency, converted, missingRates } = basis;
  return {
    currency,
    converted,
    missingRates,
    window,
    stages: openStages(
      stages,
      open.map(({ stage }) => stage),
    ).map((stage, index) => {
      const rows = open.filter((row) => row.stage === stage.stage);
      const here = { status: "open", stage: stage.stage };
      return {
        ...shownStage(stage, index),
        probability: stage.probability,
        ...figures(rows, basis),
        avgAgeDays: averageDays(secondsIn(rows, "ageSeconds"), countOf(rows)),
        avgDaysInStage: averageDays(secondsIn(rows, "stageSeconds"), countOf(rows)),
        stuckCount: sumOf(rows, "stuck"),
        links: { count: link(here), stuckCount: link({ ...here, filter: stuck }) },
      };
    }),
    totals: { ...figures(open, basis), links: { count: link({ status: "open" }) } },
    attention: {
      overdue: sumOf(open, "overdue"),
      stuck: sumOf(open, "stuck"),
      links: {
        overdue: link({ status: "open", filter: [`expectedCloseDate[lt]:${today}`] }),
        stuck: link({ status: "open", filter: stuck }),
      },
    },
    period: window && periodOf(events, basis, window, link),
  };
}

function figures(rows: readonly StageSums[], basis: Basis) {
  const sums = amountsOf(rows);
  return { count: countOf(rows), ...plainAmounts(sums, names, basis), byCurrency: byCurrency(sums, names) };
}

/** The events of one kind, with their amounts. */
export function eventsOf(events: readonly EventSums[], kind: EventSums["kind"], name: string): Sums[] {
  return events
    .filter((event) => event.kind === kind)
    .map(({ currency, count, amount }) => ({ currency, count, amounts: { [name]: new Big(amount) } }));
}

/** Number, amount and speed of wins. */
export function ratesOf(events: readonly EventSums[], basis: Basis) {
  const won = eventsOf(events, "won", "amount");
  const lost = eventsOf(events, "lost", "amount");
  const wonAmount = totalOf(won, "amount", basis);
  const bothAmounts = totalOf([...won, ...lost], "amount", basis);
  const cycleSeconds = events.reduce((total, { kind, cycleSeconds: sum }) => (kind === "won" ? total.plus(sum ?? 0) : total), new Big(0));
  return {
    winRate: percent(countOf(won), countOf(won) + countOf(lost)),
    winRateByAmount: percent(wonAmount, bothAmounts),
    avgSalesCycleDays: averageDays(cycleSeconds, countOf(won)),
    cycleSeconds,
  };
}

/** Links to the lists of opportunities created, won and lost in a window. */
export function eventLinks(link: Link, window: Window, ownerId?: string) {
  return {
    created: link({ ownerId, filter: within("createdAt", window) }),
    won: link({ ownerId, status: "won", filter: within("closedAt", window) }),
    lost: link({ ownerId, status: "lost", filter: within("closedAt", window) }),
  };
}

function periodOf(events: readonly EventSums[], basis: Basis, window: Window, link: Link) {
  const closed = (kind: "won" | "lost") => {
    const rows = eventsOf(events, kind, "amount");
    return { count: countOf(rows), ...plainAmounts(rows, ["amount"], basis), byCurrency: byCurrency(rows, ["amount"]) };
  };
  const { winRate, winRateByAmount, avgSalesCycleDays } = ratesOf(events, basis);
  return {
    created: countOf(events.filter(({ kind }) => kind === "created")),
    won: closed("won"),
    lost: closed("lost"),
    winRate,
    winRateByAmount,
    avgSalesCycleDays,
    links: eventLinks(link, window),
  };
}
