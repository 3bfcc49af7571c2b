import { type Parameters, statement } from "@cell/postgres";
import Big from "big.js";
import { sql } from "kysely";
import { countOf } from "../money.ts";
import type { Window } from "../time-window.ts";
import { cohortDays } from "./cohort.ts";
import { aggregateByDay, cachedDays, ever, mergeTotals, startOfUtcDay, startOfUtcHour } from "./daily-aggregates.ts";
import { type AsOf, opportunitiesAsOf, type Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import { count, epoch, inEachAsOf, type RowsOf, windowOf, within } from "./sql-expressions.ts";

interface Times {
  /** Opportunities that entered their stage before this time are stuck. */
  stuckBefore: string;
  /** Opportunities expected to close before this day are overdue. */
  today: string;
}
type Asked = Question & Times;

const keys = ["stage", "currency"] as const;
const isOpen = sql.lit("open" as const);

const open = (p: Parameters<Asked>, asOf: AsOf) =>
  opportunitiesAsOf(p, asOf)
    .select(keys)
    .select([
      count.as("count"),
      sql<string>`sum(amount)`.as("amount"),
      sql<string>`sum(amount * probability)`.as("weighted"),
      sql<number>`count(*) filter (where entered_at < ${p.stuckBefore}::timestamptz)`.as("stuck"),
      sql<number>`count(*) filter (where expected_close_date < ${p.today}::date)`.as("overdue"),
    ])
    .where("stageType", "=", isOpen)
    .groupBy(keys);

const stageSums = inEachAsOf((p: Parameters<Asked>, asOf) =>
  open(p, asOf).select([
    epoch(sql`sum(${p.asOf}::timestamptz - created_at)`).as("ageSeconds"),
    epoch(sql`sum(${p.asOf}::timestamptz - entered_at)`).as("stageSeconds"),
  ]),
);

export type StageSums = RowsOf<typeof stageSums>;

/** Times as sums of seconds since 1970: ages at any moment can be derived from them. */
type TimedSums = Omit<StageSums, "ageSeconds" | "stageSeconds"> & { createdSeconds: string; enteredSeconds: string };

const timed = (p: Parameters<Asked>) =>
  open(p, "present").select([
    sql<string>`sum(${epoch(sql`created_at`)})`.as("createdSeconds"),
    sql<string>`sum(${epoch(sql`entered_at`)})`.as("enteredSeconds"),
  ]);

/** By the day of creation. */
const openDays = aggregateByDay<Asked, TimedSums>(sql`created_at`, timed, cohortDays.of);

/** Opportunities that entered their stage within a time. */
const enteredSums = statement(
  (p: Parameters<Question & Window>) =>
    opportunitiesAsOf(p, "present")
      .select(keys)
      .select(count.as("count"))
      .where("stageType", "=", isOpen)
      .where(within(sql`entered_at`, windowOf(p)))
      .groupBy(keys),
  { long: true },
);

const summed = ["count", "amount", "weighted", "stuck", "overdue", "createdSeconds", "enteredSeconds"] as const;

/** By stage and currency: what was open at the moment, how old, how long in its stage, how much of it stuck and overdue. */
export function sumStages(reader: ReportReader, times: Times): Promise<StageSums[]> {
  const { tenant, question, isCurrent } = reader;
  if (isCurrent) return sumPresentStages(reader, times);
  return reader.read(["stages", times.stuckBefore, times.today], (asOf) => tenant.query(stageSums[asOf], { ...question, ...times }));
}

/**
 * The same of the present. Whole days are cached, with the opportunities that entered their stage before the day of `stuckBefore`. Those that
 * entered it later are counted: up to the hour from the cache, then each time. Ages follow from the moment.
 */
async function sumPresentStages(reader: ReportReader, { stuckBefore, today }: Times): Promise<StageSums[]> {
  const { tenant, question } = reader;
  const { asOf } = question;
  const [stuckDay, stuckHour] = [startOfUtcDay(stuckBefore), startOfUtcHour(stuckBefore)];
  const onDay = { ...question, today, stuckBefore: stuckDay };
  const entered = async (from: string, to: string) => (from < to ? tenant.query(enteredSums, { ...question, from, to }) : []);
  const [sums, ...since] = await Promise.all([
    reader.readCached(["open", stuckDay, today], async () =>
      mergeTotals(await cachedDays(reader, openDays, onDay, [stuckDay, today], ever), keys, summed),
    ),
    reader.readCached(["entered", stuckDay, stuckHour], () => entered(stuckDay, stuckHour)),
    entered(stuckHour, stuckBefore),
  ]);
  return sums.map(({ createdSeconds, enteredSeconds, stuck, ...row }) => {
    const ago = (seconds: string) => new Big(Date.parse(asOf)).div(1000).times(row.count).minus(seconds).toFixed();
    const more = countOf(since.flat().filter(({ stage, currency }) => stage === row.stage && currency === row.currency));
    return { ...row, ageSeconds: ago(createdSeconds), stageSeconds: ago(enteredSeconds), stuck: stuck + more };
  });
}
