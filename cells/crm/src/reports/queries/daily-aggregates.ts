import { type Buckets, cachedBuckets } from "@cell/cell";
import { type Parameters, type Statement, statement, type TenantDb } from "@cell/postgres";
import Big from "big.js";
import { type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import { opportunity } from "../../opportunities/schema.ts";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import type { Question } from "./opportunity-states.ts";
import { unprepared, windowOf, within } from "./sql-expressions.ts";

/** A sum over opportunities by a day of theirs, in UTC: its beginning. */
export type Daily<Row> = Row & { day: string };

/** Sums over opportunities as they are, by day. */
export interface DailyAggregate<P, Row> {
  /** All days in a range at once, from its first on, up to but without its last. */
  range: Statement<P & Window, Daily<Row>>;
  /** Single days. */
  single: Statement<P & { days: readonly string[] }, Daily<Row>>;
  /** The days that these opportunities count for, or have ever counted for. */
  of: Statement<{ ids: readonly string[] }, { day: string }>;
}

// biome-ignore lint/suspicious/noExplicitAny: what a query selects from is of no interest here, and Kysely's types are invariant in it.
type Summed<Row> = SelectQueryBuilder<any, any, Row>;

/** Gives away work that no answer waits for. */
export type RunInBackground = (work: () => Promise<void>) => void;

/** Before and after all days. */
export const ever: Window = { from: "0001-01-01T00:00:00.000Z", to: "9999-01-01T00:00:00.000Z" };

const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;

/** The day of a time. PostgreSQL keeps statistics on this very expression of `created_at`, by which it knows that the days are few. */
export const dayOf = (at: RawBuilder<unknown>) => sql<string>`date_bin('1 day', ${at}, timestamptz '2000-01-01 00:00:00+00')`;

/** Sums over the opportunities whose time `at` lies in a day: of `build`'s rows, which may be narrowed and grouped further. */
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

/** The whole days of a window, from memory where they have not changed: one that has costs itself and not a look at each opportunity. */
export function cachedDays<P extends Question, Row>(
  tenant: TenantDb,
  { range, single, of }: DailyAggregate<P, Row>,
  question: P,
  dependsOn: unknown,
  { from, to }: Window,
  later: RunInBackground,
): Promise<Daily<Row>[]> {
  const { pipelineId, visibleTo, ownerId, currency } = question;
  const parts: Buckets<Daily<Row>> = {
    type: opportunity.type,
    question: [pipelineId, visibleTo, ownerId, currency, dependsOn],
    queryVersion: range.compiled.text,
    bucketOf: ({ day }) => day,
    readRange: (first, last) => tenant.query(range, { ...question, from: first, to: last }),
    readBuckets: (days) => tenant.query(single, { ...question, days }),
    bucketsOf: async (ids) => (await tenant.query(of, { ids: ids.filter(isUuid) })).map(({ day }) => day),
  };
  return cachedBuckets(tenant, parts, from, to, later);
}

/** A window's sums: of its whole days out of memory, `between` of what is left at its ends. */
export async function sumWindow<P extends Question, Row>(
  tenant: TenantDb,
  days: DailyAggregate<P, Row>,
  question: P,
  window: Window,
  between: (from: string, to: string) => Promise<Row[]>,
  later: RunInBackground,
): Promise<Row[]> {
  const [first, last] = [roundTo(dayMs, window.from, Math.ceil), roundTo(dayMs, window.to, Math.floor)];
  if (first >= last) return between(window.from, window.to);
  const [before, whole, after] = await Promise.all([
    window.from < first ? between(window.from, first) : [],
    cachedDays(tenant, days, question, undefined, { from: first, to: last }, later),
    last < window.to ? between(last, window.to) : [],
  ]);
  return [...before, ...whole, ...after];
}

/** Rows whose `keys` are the same as one. What is summed are counts, as numbers, and decimals, as texts; exactly, and null is nothing. */
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

/** Of decimals: amounts have four digits, percents of them two more, and so have seconds. */
const digits = 6;

function scaled(value: number | string | null): number | bigint {
  if (typeof value === "number") return value;
  const [whole = "", fraction = ""] = (value ?? "0").split(".");
  return BigInt(whole + fraction.padEnd(digits, "0"));
}

function plus(one: number | bigint, other: number | bigint): number | bigint {
  return typeof one === "bigint" ? one + BigInt(other) : one + Number(other);
}

/** When the hour of a time began. */
export function startOfUtcHour(time: string): string {
  return roundTo(hourMs, time, Math.floor);
}

/** When the day of a time began, in UTC. */
export function startOfUtcDay(time: string): string {
  return roundTo(dayMs, time, Math.floor);
}

function roundTo(ms: number, time: string, round: (count: number) => number): string {
  return new Date(round(Date.parse(time) / ms) * ms).toISOString();
}

/** Among the ids of a type's entries are those of exports, which are no record's. */
function isUuid(id: string): boolean {
  return /^[0-9a-f-]{36}$/.test(id);
}
