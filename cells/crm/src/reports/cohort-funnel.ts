import Big from "big.js";
import { type Link, slugs, within } from "./drill-down-links.ts";
import { funnelStages, isFrom, shownStage } from "./funnel-stages.ts";
import { basisOf, byCurrency, type CurrencyConverter, countOf, percent, plainAmounts } from "./money.ts";
import type { CohortSums } from "./queries/cohort.ts";
import type { StageRow } from "./queries/repository.ts";
import type { FunnelMode } from "./schema.ts";
import type { Window } from "./time-window.ts";

export interface FunnelInput {
  stages: readonly StageRow[];
  sums: readonly CohortSums[];
  mode: FunnelMode;
  window: Window;
  converter: CurrencyConverter;
  link: Link;
}

/** Funnel by creation cohort: the progress of the opportunities created in the window. */
export function funnelOf({ stages, sums, mode, window, converter, link }: FunnelInput) {
  const shown = funnelStages(stages);
  const basis = basisOf(sums, converter);
  const cohort = sums.map((row) => ({ ...row, entered: enteredStages(row, stages), lostFrom: lostFrom(row, stages, shown) }));
  const created = within("createdAt", window);
  const counted = shown.map((_, index) => cohort.filter(({ entered }) => counts(mode, entered, shown, index)));
  const first = countOf(counted[0] ?? []);
  const ofType = (type: string) => countOf(cohort.filter(({ stageType }) => stageType === type));
  const { currency, converted, missingRates } = basis;
  return {
    currency,
    converted,
    missingRates,
    window,
    mode,
    cohort: countOf(cohort),
    won: ofType("won"),
    lost: ofType("lost"),
    open: ofType("open"),
    overallConversion: percent(ofType("won"), countOf(cohort)),
    stages: shown.map((stage, index) => {
      const rows = counted[index] ?? [];
      const previous = index === 0 ? null : countOf(counted[index - 1] ?? []);
      const amounts = rows.map((row) => ({ currency: row.currency, count: row.count, amounts: { amount: new Big(row.amount) } }));
      return {
        ...shownStage(stage, index),
        count: countOf(rows),
        ...plainAmounts(amounts, ["amount"], basis),
        byCurrency: byCurrency(amounts, ["amount"]),
        conversionFromPrevious: percent(countOf(rows), previous),
        conversionFromFirst: percent(countOf(rows), first),
        dropOff: previous === null ? null : previous - countOf(rows),
        currentCount: countOf(cohort.filter((row) => row.stage === stage.stage && row.stageType === stage.type)),
        lostFromHere: countOf(cohort.filter((row) => row.lostFrom === stage)),
        links: {
          count: link({ filter: created, history: countHistory(mode, stages, shown, index) }),
          currentCount: link({ filter: created, status: stage.type, stage: stage.stage }),
          lostFromHere: link({ filter: [...created, `lastStage[in]:${lostFromSlugs(stage, stages, shown)}`], status: "lost" }),
          dropOff: mode === "entered" || index === 0 ? null : link({ filter: created, history: dropHistory(mode, stages, shown, index) }),
        },
      };
    }),
    links: {
      cohort: link({ filter: created }),
      won: link({ filter: created, status: "won" }),
      lost: link({ filter: created, status: "lost" }),
      open: link({ filter: created, status: "open" }),
    },
  };
}

function enteredStages({ entered }: CohortSums, stages: readonly StageRow[]): Set<StageRow> {
  const mask = BigInt(entered ?? 0);
  return new Set(stages.filter(({ number }) => ((mask >> BigInt(number)) & 1n) === 1n));
}

/**
 * Whether an opportunity that has been in these stages counts for the stage at `index`. Every created opportunity reaches the first stage.
 */
function counts(mode: FunnelMode, entered: ReadonlySet<StageRow>, shown: readonly StageRow[], index: number): boolean {
  const stage = shown[index];
  if (!stage) return false;
  if (mode === "entered") return entered.has(stage);
  if (mode === "strict") return shown.slice(0, index + 1).every((earlier) => entered.has(earlier));
  return index === 0 || [...entered].some((reached) => isFrom(reached, stage));
}

/** The stage from which it was lost; undefined if it is not lost. */
function lostFrom({ stageType, lastStage }: CohortSums, stages: readonly StageRow[], shown: readonly StageRow[]): StageRow | undefined {
  return stageType === "lost"
    ? shownFor(
        stages.find(({ number }) => number === lastStage),
        shown,
      )
    : undefined;
}

/** The stage itself; for a removed one, the last shown stage before it, or the first. */
function shownFor(stage: StageRow | undefined, shown: readonly StageRow[]): StageRow | undefined {
  return (stage && shown.findLast((candidate) => isFrom(stage, candidate))) ?? shown[0];
}

function countHistory(mode: FunnelMode, stages: readonly StageRow[], shown: readonly StageRow[], index: number) {
  const stage = shown[index];
  if (!stage || (mode === "reached" && index === 0)) return undefined;
  if (mode === "entered") return { enteredStage: stage.stage };
  if (mode === "strict") return { passedStages: slugs(shown.slice(0, index + 1)) };
  return { enteredStage: slugs(stages.filter((reached) => isFrom(reached, stage))) };
}

function dropHistory(mode: FunnelMode, stages: readonly StageRow[], shown: readonly StageRow[], index: number) {
  const stage = shown[index];
  if (!stage) return undefined;
  const missed = mode === "strict" ? stage.stage : slugs(stages.filter((reached) => isFrom(reached, stage)));
  return { ...countHistory(mode, stages, shown, index - 1), notEnteredStage: missed };
}

function lostFromSlugs(stage: StageRow, stages: readonly StageRow[], shown: readonly StageRow[]): string {
  return slugs(stages.filter((candidate) => candidate.type !== "lost" && shownFor(candidate, shown) === stage));
}
