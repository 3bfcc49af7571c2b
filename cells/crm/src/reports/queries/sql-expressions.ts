import { type Parameters, type Statement, statement } from "@cell/postgres";
import { type Compilable, type RawBuilder, sql } from "kysely";
import type { Window } from "../time-window.ts";
import type { AsOf, Question } from "./opportunity-states.ts";

export type Grouping = "none" | "owner" | "month";
/** `bounds`: the beginnings of the months, and the window's end; empty unless grouped by month. */
export type Grouped = Question & Window & { bounds: string[] };

// Planned for each run's moment, window and filters; it takes seconds for very many opportunities.
export const unprepared = { keep: false, long: true };
/** A window's two ends, as expressions. */
export type Bounds = Record<"from" | "to", RawBuilder<unknown>>;
export const within = (at: RawBuilder<unknown>, { from, to }: Bounds) => sql<boolean>`${at} >= ${from} and ${at} < ${to}`;
export const windowOf = (p: Parameters<Window>): Bounds => ({ from: sql`${p.from}::timestamptz`, to: sql`${p.to}::timestamptz` });
/** A time span in seconds, exact. */
export const epoch = (span: RawBuilder<unknown>) => sql<string>`extract(epoch from ${span})`;
export const count = sql<number>`count(*)`;

/** A statement each for current and historical data. */
export function inEachAsOf<P, R>(build: (p: Parameters<P>, asOf: AsOf) => Compilable<R>): Record<AsOf, Statement<P, R>> {
  const of = (asOf: AsOf) => statement((p: Parameters<P>) => build(p, asOf), unprepared);
  return { present: of("present"), past: of("past") };
}

/** The row type of such a pair of statements. */
export type RowsOf<S> = S extends Record<AsOf, Statement<never, infer Row>> ? Row : never;

/** The group key of rows, by the time that counts for them: none, their owner, or their month's number from 1. */
export const groupKeys: Record<Grouping, (p: Parameters<Grouped>, at: RawBuilder<unknown>) => RawBuilder<string | null>> = {
  none: () => sql<null>`null::text`,
  owner: () => sql<string>`state.owner_id`,
  month: (p, at) => sql<string>`width_bucket(${at}, ${p.bounds}::timestamptz[])::text`,
};
