import { type Buckets, cachedBuckets } from "@cell/cell";
import { type Parameters, type Statement, statement } from "@cell/postgres";
import Big from "big.js";
import { type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import { opportunity } from "../../opportunities/schema.ts";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import type { Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import { unprepared, windowOf, within } from "./sql-expressions.ts";

/** An aggregate row with its UTC day, given by the day's beginning. */
export type Daily<Row> = Row & { day: string };

/** Aggregates over current opportunities, by day. */
export interface DailyAggregate<P, Row> {
  /** All days of a range at once, up to and excluding its last. */
  range: Statement<P & Window, Daily<Row>>;
  /** Single days. */
  single: Statement<P & { days: readonly string[] }, Daily<Row>>;
  /** The days that these opportunities count for, or have ever counted for. */
  of: Statement<{ ids: readonly string[] }, { day: string }>;
}

// biome-ignore lint/suspicious/noExplicitAny: the source of a query does not matter here, and Kysely's types are invariant in it.
type Summed<Row> = SelectQueryBuilder<any, any, Row>;

/** Before and after all days. */
export const ever: Window = { from: "0001-01-01T00:00:00.000Z", to: "9999-01-01T00:00:00.000Z" };

const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;

/**
 * The day of a time. PostgreSQL has extended statistics on exactly this expression of `created_at`: they tell the planner that there are
 * few days.
 */
export const dayOf = (at: RawBuilder<unknown>) => sql<string>`date_bin('1 day', ${at}, timestamptz '2000-01-01 00:00:00+00')`;

/** Aggregates of `build`'s rows for opportunities whose time `at` is within a day; the query may be narrowed and grouped further. */
export function aggregateByDay<P extends object, Row>(
  at: RawBuilder<unknown>,
  build: (p: Parameters<P>) => Summed<Row>,
  of: DailyAggregate<P, Row>["of"],
): DailyAggregate<P, Row> {
  const range = statement<P & Window, Daily<Row>>((p) => {
    const narrowed = build(p).where(within(at, windowOf(p)));
    return narrowed.select(dayOf(at).as("day")).groupBy(dayOf(at)).$castTo<Daily<Row>>();
  }, unprepared);
  const single = statement<P & { days: readonly string[] }, Daily<Row>>((p) => {
    const inDay = build(p).where(within(at, { from: sql`day`, to: sql`day + interval '24 hours'` }));
    return db
      .selectFrom(sql<{ day: string }>`unnest(${p.days}::timestamptz[])`.as<"days">(sql`days(day)`))
      .innerJoinLateral(inDay.as("sums"), (join) => join.onTrue())
      .selectAll()
      .$castTo<Daily<Row>>();
  }, unprepared);
  return { range, single, of };
}

/** The whole days of a window, from the cache if they have not changed: a changed day costs only that day's opportunities. */
export function cachedDays<P extends Question, Row>(
  { tenant, runInBackground }: ReportReader,
  { range, single, of }: DailyAggregate<P, Row>,
  question: P,
  dependsOn: unknown,
  { from, to }: Window,
): Promise<Daily<Row>[]> {
  const { pipelineId, visibleTo, ownerId, currency } = question;
  const buckets: Buckets<Daily<Row>> = {
    type: opportunity.type,
    question: [pipelineId, visibleTo, ownerId, currency, dependsOn],
    queryVersion: range.compiled.text,
    bucketOf: ({ day }) => day,
    readRange: (first, last) => tenant.query(range, { ...question, from: first, to: last }),
    readBuckets: (days) => tenant.query(single, { ...question, days }),
    bucketsOf: async (ids) => (await tenant.query(of, { ids: ids.filter(isUuid) })).map(({ day }) => day),
  };
  return cachedBuckets(tenant, buckets, from, to, runInBackground);
}

/** A window's aggregates: whole days from the cache, and `between` for the rest at its ends. */
export async function sumWindow<P extends Question, Row>(
  reader: ReportReader,
  days: DailyAggregate<P, Row>,
  question: P,
  window: Window,
  between: (from: string, to: string) => Promise<Row[]>,
): Promise<Row[]> {
  const [first, last] = [roundTo(dayMs, window.from, Math.ceil), roundTo(dayMs, window.to, Math.floor)];
  if (first >= last) return between(window.from, window.to);
  const [before, whole, after] = await Promise.all([
    window.from < first ? between(window.from, first) : [],
    cachedDays(reader, days, question, undefined, { from: first, to: last }),
    last < window.to ? between(last, window.to) : [],
  ]);
  return [...before, ...whole, ...after];
}

/** Merges rows with equal `keys`. Counts are summed as numbers and decimals as texts, exactly; null counts as nothing. */
export function mergeTotals<Row extends object>(rows: readonly Row[], keys: readonly (keyof Row)[], summed: readonly (keyof Row)[]): Row[] {
  const sums = new Map<string, { row: Row; sums: (number | bigint)[] }>();
  for (const row of rows) {
    const name = JSON.stringify(keys.map((key) => row[key]));
    const values = summed.map((key) => scaled(row[key] as number | string | null));
    const sum = sums.get(name);
    if (sum) sum.sums = sum.sums.map((value, index) => plus(value, values[index] ?? 0));
    else sums.set(name, { row, sums: values });
  }
  return [...sums.values()].map(({ row, sums }) => {
    const shown = sums.map((value) => (typeof value === "bigint" ? new Big(`${value}e-${digits}`).toFixed() : value));
    return { ...row, ...Object.fromEntries(summed.map((key, index) => [key, shown[index]])) };
  });
}

/** Decimals: amounts have four digits, percents of them two more, and so have seconds. */
const digits = 6;

function scaled(value: number | string | null): number | bigint {
  if (typeof value === "number") return value;
  const [whole = "", fraction = ""] = (value ?? "0").split(".");
  return BigInt(whole + fraction.padEnd(digits, "0"));
}

function plus(one: number | bigint, other: number | bigint): number | bigint {
  return typeof one === "bigint" ? one + BigInt(other) : one + Number(other);
}

/** The beginning of a time's hour. */
export function startOfUtcHour(time: string): string {
  return roundTo(hourMs, time, Math.floor);
}

/** The beginning of a time's day in UTC. */
export function startOfUtcDay(time: string): string {
  return roundTo(dayMs, time, Math.floor);
}

function roundTo(ms: number, time: string, round: (count: number) => number): string {
  return new Date(round(Date.parse(time) / ms) * ms).toISOString();
}

/** A type's audit entries include exports, whose ids are not records. */
function isUuid(id: string): boolean {
  return /^[0-9a-f-]{36}$/.test(id);
}
