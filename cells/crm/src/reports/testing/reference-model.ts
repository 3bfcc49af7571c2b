import type { HistoryFixture, TestPipeline } from "./history-fixtures.ts";
import { averageDays, dayMs, half, type Money, months, percent, percentileDays, scaled, time, written } from "./reference-arithmetic.ts";

/** A tenant's data for the reference model: only histories, over which it loops. */
export interface TenantData {
  /** One history per opportunity, oldest row first. */
  histories: HistoryFixture[][];
  pipelines: TestPipeline[];
  timezone: string;
  currency: string;
  /** With at most 4 decimals. */
  rates: Record<string, string>;
  stuckAfterDays: number;
}

export interface Ask {
  pipelineId: string;
  ownerId?: string;
  currency?: string;
  asOf: string;
  /** Dates, both included. */
  from: string;
  to: string;
}

interface Seen {
  rows: HistoryFixture[];
  now: HistoryFixture;
  created: HistoryFixture;
  entered: HistoryFixture;
}

const amountOf = ({ amount }: HistoryFixture) => scaled(amount, 8);
const weightedOf = (row: HistoryFixture) => scaled(row.amount, 4) * scaled(String(row.probability), 2);

/** The reference model's result of every report, for one question. */
export function referenceModel(data: TenantData, ask: Ask) {
  const dayOf = (instant: string) => new Date(instant).toLocaleDateString("sv-SE", { timeZone: data.timezone });
  const inWindow = (instant: string | null) => instant !== null && dayOf(instant) >= ask.from && dayOf(instant) <= ask.to;
  const stages = data.pipelines.find(({ pipelineId }) => pipelineId === ask.pipelineId)?.stages ?? [];
  const open = stages.filter(({ type }) => type === "open");
  const progress = [...open, ...stages.filter(({ type }) => type === "won")];
  const today = dayOf(ask.asOf);

  const allPipelines: Seen[] = [];
  for (const history of data.histories) {
    const rows = history.filter(({ at }) => time(at) <= time(ask.asOf));
    const [now, created, entered] = [rows.at(-1), rows[0], rows.findLast(({ moved }) => moved)];
    if (!now || !created || !entered || now.deleted) continue;
    if (ask.ownerId !== undefined && now.ownerId !== ask.ownerId) continue;
    if (ask.currency !== undefined && now.currency !== ask.currency) continue;
    allPipelines.push({ rows, now, created, entered });
  }
  const here = allPipelines.filter(({ now }) => now.pipelineId === ask.pipelineId);
  const arrivals = ({ rows }: Seen) => rows.filter((row) => row.moved && row.pipelineId === ask.pipelineId);

  const basisOf = (seen: Seen[]) => {
    const current = [...new Set(seen.map(({ now }) => now.currency))].sort();
    const missingRates = current.length < 2 ? [] : current.filter((code) => code !== data.currency && !(code in data.rates));
    const currency = current.length < 2 ? (current[0] ?? data.currency) : missingRates.length > 0 ? null : data.currency;
    return { currency, converted: current.length > 1 && missingRates.length === 0, missingRates };
  };
  type Basis = ReturnType<typeof basisOf>;
  const rateOf = (code: string, { converted }: Basis) =>
    converted && code !== data.currency ? scaled(data.rates[code] ?? "0", 4) : 10_000n;
  const exact = (moneys: Money[], name: string, basis: Basis) =>
    basis.currency === null ? null : moneys.reduce((sum, { currency, values }) => sum + (values[name] ?? 0n) * rateOf(currency, basis), 0n);
  const amounts = (moneys: Money[], names: string[], basis: Basis) => {
    const plain = names.map((name) => {
      const value = exact(moneys, name, basis);
      return [name, value === null || basis.currency === null ? null : written(value, 12, basis.currency)];
    });
    const byCurrency = [...new Set(moneys.map(({ currency }) => currency))].sort().map((currency) => {
      const own = moneys.filter((money) => money.currency === currency);
      const sums = names.map((name) => [
        name,
        written(
          own.reduce((sum, { values }) => sum + (values[name] ?? 0n), 0n),
          8,
          currency,
        ),
      ]);
      return { currency, count: own.length, ...Object.fromEntries(sums) };
    });
    return { ...Object.fromEntries(plain), byCurrency };
  };
  const moneyOf = ({ now }: Seen): Money => ({
    currency: now.currency,
    values: { amount: amountOf(now), weightedAmount: weightedOf(now) },
  });

  const rates = (won: Seen[], lost: Seen[], basis: Basis) => {
    const wonAmount = exact(won.map(moneyOf), "amount", basis);
    const cycles = won.map(({ now, created }) => time(now.closedAt ?? "") - time(created.at));
    return {
      winRate: percent(won.length, won.length + lost.length),
      winRateByAmount: percent(wonAmount, exact([...won, ...lost].map(moneyOf), "amount", basis)),
      avgSalesCycleDays: averageDays(cycles),
      wonAmount,
      cycleMs: cycles.reduce((sum, cycle) => sum + cycle, 0),
    };
  };

  const summary = () => {
    const opened = here.filter(({ now }) => now.stageType === "open");
    const closed = (type: string) => here.filter(({ now }) => now.stageType === type && inWindow(now.closedAt));
    const basis = basisOf([...opened, ...closed("won"), ...closed("lost")]);
    const isStuck = ({ entered }: Seen) => time(ask.asOf) - time(entered.at) > data.stuckAfterDays * dayMs;
    const figures = (seen: Seen[]) => ({ count: seen.length, ...amounts(seen.map(moneyOf), ["amount", "weightedAmount"], basis) });
    const closedFigures = (type: string) => ({ count: closed(type).length, ...amounts(closed(type).map(moneyOf), ["amount"], basis) });
    const { winRate, winRateByAmount, avgSalesCycleDays } = rates(closed("won"), closed("lost"), basis);
    return {
      ...basis,
      stages: open.map(({ stage, probability }, index) => {
        const seen = opened.filter(({ now }) => now.stage === stage);
        return {
          stageId: stage,
          order: index + 1,
          probability,
          ...figures(seen),
          avgAgeDays: averageDays(seen.map(({ created }) => time(ask.asOf) - time(created.at))),
          avgDaysInStage: averageDays(seen.map(({ entered }) => time(ask.asOf) - time(entered.at))),
          stuckCount: seen.filter(isStuck).length,
        };
      }),
      totals: figures(opened),
      attention: {
        overdue: opened.filter(({ now }) => now.expectedCloseDate !== null && now.expectedCloseDate < today).length,
        stuck: opened.filter(isStuck).length,
      },
      period: {
        created: here.filter(({ created }) => inWindow(created.at)).length,
        won: closedFigures("won"),
        lost: closedFigures("lost"),
        winRate,
        winRateByAmount,
        avgSalesCycleDays,
      },
    };
  };

  const funnel = (mode: string) => {
    const cohort = here.filter(({ created }) => inWindow(created.at));
    const basis = basisOf(cohort);
    const placeOf = ({ stage }: HistoryFixture) => progress.findIndex((step) => step.stage === stage);
    const countsFor = (seen: Seen, place: number) => {
      const places = arrivals(seen).map(placeOf);
      if (mode === "entered") return places.includes(place);
      if (mode === "strict") return progress.slice(0, place + 1).every((_, earlier) => places.includes(earlier));
      return place === 0 || Math.max(...places, -1) >= place;
    };
    const ofType = (type: string) => cohort.filter(({ now }) => now.stageType === type).length;
    const lostFrom = (seen: Seen) =>
      Math.max(
        0,
        ...arrivals(seen)
          .map(placeOf)
          .filter((place) => place >= 0)
          .slice(-1),
      );
    const counts = progress.map((_, place) => cohort.filter((seen) => countsFor(seen, place)));
    return {
      ...basis,
      mode,
      cohort: cohort.length,
      won: ofType("won"),
      lost: ofType("lost"),
      open: ofType("open"),
      overallConversion: percent(ofType("won"), cohort.length),
      stages: progress.map(({ stage }, place) => {
        const seen = counts[place] ?? [];
        const previous = counts[place - 1]?.length ?? null;
        return {
          stageId: stage,
          order: place + 1,
          count: seen.length,
          ...amounts(seen.map(moneyOf), ["amount"], basis),
          conversionFromPrevious: percent(seen.length, previous),
          conversionFromFirst: percent(seen.length, counts[0]?.length ?? 0),
          dropOff: previous === null ? null : previous - seen.length,
          currentCount: cohort.filter(({ now }) => now.stage === stage).length,
          lostFromHere: cohort.filter((one) => one.now.stageType === "lost" && lostFrom(one) === place).length,
        };
      }),
    };
  };

  const durations = allPipelines.flatMap((seen) => {
    const moves = seen.rows.filter(({ moved }) => moved);
    return moves.flatMap((row, index) => {
      const isArrival = row.pipelineId === ask.pipelineId && row.stageType === "open" && inWindow(row.at);
      return isArrival ? [{ seen, row, next: moves[index + 1] }] : [];
    });
  });
  const outcomeOf = ({ row, next }: (typeof durations)[number]) => {
    if (!next) return "still";
    if (next.pipelineId !== row.pipelineId) return "movedPipeline";
    if (next.stageType !== "open") return next.stageType === "won" ? "advanced" : "lost";
    const places = [row, next].map(({ stage }) => open.findIndex((step) => step.stage === stage));
    return (places[1] ?? 0) > (places[0] ?? 0) ? "advanced" : "regressed";
  };
  /** One per arrival in the window. */
  const arrived = () =>
    durations.map((duration) => ({ stage: duration.row.stage, outcome: outcomeOf(duration), opportunityId: duration.row.opportunityId }));

  const happened = (groupBy: string) => {
    const ended = (type: string) => here.filter(({ now }) => now.stageType === type && inWindow(now.closedAt));
    const basis = basisOf([...ended("won"), ...ended("lost")]);
    const groupOf = (seen: Seen, instant: string) => (groupBy === "owner" ? seen.now.ownerId : dayOf(instant).slice(0, 7));
    const part = (isIn: (seen: Seen, instant: string) => boolean) => {
      const created = here.filter((seen) => inWindow(seen.created.at) && isIn(seen, seen.created.at)).length;
      const [won = [], lost = []] = ["won", "lost"].map((type) => ended(type).filter((seen) => isIn(seen, seen.now.closedAt ?? "")));
      const { winRate, winRateByAmount, avgSalesCycleDays, wonAmount, cycleMs } = rates(won, lost, basis);
      const money =
        (type: string) =>
        (seen: Seen): Money => ({ currency: seen.now.currency, values: { [type]: amountOf(seen.now) } });
      const moneys = [...won.map(money("wonAmount")), ...lost.map(money("lostAmount"))];
      const velocity =
        wonAmount === null || cycleMs === 0 ? null : [BigInt(created * won.length * dayMs) * wonAmount, BigInt(cycleMs * moneys.length)];
      return {
        stages: open.map(({ stage }, index) => {
          const own = durations.filter(({ seen, row }) => row.stage === stage && isIn(seen, row.at));
          const settled = own.flatMap(({ row, next }) => (next ? [time(next.at) - time(row.at)] : []));
          const became = (outcome: string) => own.filter((duration) => outcomeOf(duration) === outcome).length;
          return {
            stageId: stage,
            order: index + 1,
            entries: own.length,
            opportunities: new Set(own.map(({ seen }) => seen)).size,
            ...Object.fromEntries(["advanced", "lost", "regressed", "movedPipeline", "still"].map((outcome) => [outcome, became(outcome)])),
            advanceRate: percent(became("advanced"), settled.length),
            avgDays: averageDays(settled),
            medianDays: percentileDays(settled, 5),
            p90Days: percentileDays(settled, 9),
          };
        }),
        totals: {
          created,
          won: won.length,
          lost: lost.length,
          ...amounts(moneys, ["wonAmount", "lostAmount"], basis),
          winRate,
          winRateByAmount,
          avgSalesCycleDays,
          salesVelocity: velocity && basis.currency ? written(half(velocity[0] ?? 0n, velocity[1] ?? 1n), 12, basis.currency) : null,
        },
      };
    };
    const owners = new Set([
      ...durations.map(({ seen }) => seen),
      ...here.filter((seen) => inWindow(seen.created.at)),
      ...ended("won"),
      ...ended("lost"),
    ]);
    const groups = groupBy === "owner" ? [...new Set([...owners].map(({ now }) => now.ownerId))].sort() : months(ask.from, ask.to);
    return {
      ...basis,
      groupBy,
      ...part(() => true),
      groups: groupBy === "none" ? null : groups.map((group) => ({ group, ...part((seen, instant) => groupOf(seen, instant) === group) })),
    };
  };

  const forecast = () => {
    const bucketOf = ({ now }: Seen) => {
      if (now.stageType === "lost") return null;
      if (now.stageType === "won") return inWindow(now.closedAt) ? dayOf(now.closedAt ?? "").slice(0, 7) : null;
      const expected = now.expectedCloseDate;
      if (expected === null) return "undated";
      if (expected < today) return "overdue";
      return expected >= ask.from && expected <= ask.to ? expected.slice(0, 7) : null;
    };
    const basis = basisOf(here.filter((seen) => bucketOf(seen) !== null));
    const bucketMoney = ({ now }: Seen): Money => {
      const isOpen = now.stageType === "open";
      const [amount, weightedAmount] = [amountOf(now), isOpen ? weightedOf(now) : 0n];
      const closedWon = isOpen ? 0n : amount;
      const from = (least: number) => (isOpen && now.probability >= least ? amount : 0n);
      return {
        currency: now.currency,
        values: {
          openAmount: from(0),
          weightedAmount,
          bestCase: from(50),
          commit: from(80),
          closedWon,
          forecast: closedWon + weightedAmount,
        },
      };
    };
    const outside = (kind: string) => {
      const seen = here.filter((one) => bucketOf(one) === kind);
      return { count: seen.length, ...amounts(seen.map(moneyOf), ["amount", "weightedAmount"], basis) };
    };
    return {
      ...basis,
      period: "month",
      buckets: months(ask.from, ask.to).map((period) => {
        const seen = here.filter((one) => bucketOf(one) === period);
        return {
          period,
          openCount: seen.filter(({ now }) => now.stageType === "open").length,
          closedWonCount: seen.filter(({ now }) => now.stageType === "won").length,
          ...amounts(seen.map(bucketMoney), ["openAmount", "weightedAmount", "bestCase", "commit", "closedWon", "forecast"], basis),
        };
      }),
      overdue: outside("overdue"),
      undated: outside("undated"),
    };
  };

  const counts = () =>
    Object.fromEntries(["open", "won", "lost"].map((type) => [type, here.filter(({ now }) => now.stageType === type).length]));
  return { summary, funnel, happened, forecast, counts, arrived };
}
