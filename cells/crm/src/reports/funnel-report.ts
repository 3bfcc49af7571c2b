import Big from "big.js";
import { type Link, slugs } from "./drill-down-links.ts";
import { isFrom, openStages, shownStage } from "./funnel-stages.ts";
import {
  averageDays,
  type Basis,
  basisOf,
  byCurrency,
  type CurrencyConverter,
  countOf,
  moneyText,
  percent,
  plainAmounts,
  totalOf,
} from "./money.ts";
import { eventLinks, eventsOf, ratesOf } from "./pipeline-summary.ts";
import type { EventSums } from "./queries/events.ts";
import type { StageRow } from "./queries/repository.ts";
import type { Grouping } from "./queries/sql-expressions.ts";
import type { StageDurationTotals } from "./queries/stage-durations.ts";
import type { Bucket, Window } from "./time-window.ts";

export interface FunnelReportInput {
  stages: readonly StageRow[];
  durations: readonly StageDurationTotals[];
  /** The stage durations of each group. */
  grouped: readonly StageDurationTotals[];
  events: readonly EventSums[];
  groupBy: Grouping;
  window: Window;
  /** The window's months, for groups by month. */
  months: readonly Bucket[];
  converter: CurrencyConverter;
  link: Link;
}

/** Part of a report: one group, or all. */
interface Part {
  window: Window;
  ownerId?: string;
}

/** Activity within the window. */
export function funnelReportOf({ stages, durations, grouped, events, groupBy, window, months, converter, link }: FunnelReportInput) {
  const basis = basisOf(
    events.filter(({ kind }) => kind !== "created"),
    converter,
  );
  const { currency, converted, missingRates } = basis;
  const shown = openStages(
    stages,
    durations.map(({ stage }) => stage),
  );
  const figures = (ofPart: readonly StageDurationTotals[], eventsOfPart: readonly EventSums[], part: Part) => ({
    stages: shown.map((stage, index) => ({
      ...shownStage(stage, index),
      ...durationFigures(ofPart.find((row) => row.stage === stage.stage)),
      links: durationLinks(stage, stages, part, link),
    })),
    totals: totalsOf(eventsOfPart, basis, part, link),
  });
  return {
    currency,
    converted,
    missingRates,
    window,
    groupBy,
    ...figures(durations, events, { window }),
    groups:
      groupBy === "none"
        ? null
        : groupsOf(groupBy, grouped, events, months).map(({ key, group }) => ({
            group,
            ...figures(
              grouped.filter((row) => row.group === key),
              events.filter((row) => row.group === key),
              groupBy === "owner" ? { window, ownerId: group } : { window: months[Number(key) - 1] ?? window },
            ),
          })),
  };
}

/** Owners with any activity, by id; every month of the window. */
function groupsOf(
  groupBy: "owner" | "month",
  durations: readonly StageDurationTotals[],
  events: readonly EventSums[],
  months: readonly Bucket[],
) {
  if (groupBy === "month") return months.map(({ period }, index) => ({ key: String(index + 1), group: period }));
  const owners = new Set([...durations, ...events].map(({ group }) => group));
  return [...owners]
    .flatMap((owner) => (owner === null ? [] : [{ key: owner, group: owner }]))
    .sort((one, other) => (one.key < other.key ? -1 : 1));
}

function durationFigures(row: StageDurationTotals | undefined) {
  const { entries = 0, opportunities = 0, advanced = 0, lost = 0, regressed = 0, movedPipeline = 0, still = 0 } = row ?? {};
  const settled = entries - still;
  return {
    entries,
    opportunities,
    advanced,
    lost,
    regressed,
    movedPipeline,
    still,
    advanceRate: percent(advanced, settled),
    avgDays: averageDays(row?.seconds ?? 0, settled),
    medianDays: percentileDays(row?.percentileSeconds?.[0]),
    p90Days: percentileDays(row?.percentileSeconds?.[1]),
  };
}

/**
 * Interpolated between milliseconds in binary: the error is far below a microsecond and rounded away before it could change the rounding of
 * a half.
 */
function percentileDays(seconds: number | null | undefined): number | null {
  return seconds === null || seconds === undefined ? null : averageDays(new Big(seconds).round(6), 1);
}

function durationLinks(stage: StageRow, stages: readonly StageRow[], { window, ownerId }: Part, link: Link) {
  const arrived = (leftTo?: string) =>
    link({
      anyPipeline: true,
      ownerId,
      history: { enteredStage: stage.stage, enteredFrom: window.from, enteredTo: window.to, leftTo },
    });
  const others = stages.filter((other) => other !== stage);
  return {
    entries: arrived(),
    advanced: arrived(slugs(others.filter((other) => isFrom(other, stage) && other.position !== stage.position))),
    lost: arrived(slugs(others.filter(({ type }) => type === "lost"))),
    regressed: arrived(slugs(others.filter((other) => other.type === "open" && other.position <= stage.position)) || stage.stage),
    movedPipeline: arrived("PIPELINE"),
    still: arrived("STILL"),
  };
}

/**
 * Created, won and lost. Sales velocity by the usual formula: opportunities × average amount won × win rate
 * sales cycle, with the opportunities created in the window and the cycle in days; the result is money per day.
 */
function totalsOf(events: readonly EventSums[], basis: Basis, { window, ownerId }: Part, link: Link) {
  const created = countOf(events.filter(({ kind }) => kind === "created"));
  const won = eventsOf(events, "won", "wonAmount");
  const lost = eventsOf(events, "lost", "lostAmount");
  const closed = [...won, ...lost];
  const { winRate, winRateByAmount, avgSalesCycleDays, cycleSeconds } = ratesOf(events, basis);
  const wonAmount = totalOf(won, "wonAmount", basis);
  // Average amount × win rate is wonAmount
  // (won + lost); the average cycle is cycleSeconds
  // won.
  const velocity =
    wonAmount === null || cycleSeconds.eq(0)
      ? null
      : new Big(created)
          .times(wonAmount)
          .times(countOf(won))
          .times(86_400)
          .div(cycleSeconds.times(countOf(closed)));
  return {
    created,
    won: countOf(won),
    lost: countOf(lost),
    ...plainAmounts(closed, ["wonAmount", "lostAmount"], basis),
    byCurrency: byCurrency(closed, ["wonAmount", "lostAmount"]),
    winRate,
    winRateByAmount,
    avgSalesCycleDays,
    salesVelocity: moneyText(velocity, basis.currency),
    links: eventLinks(link, window, ownerId),
  };
}
