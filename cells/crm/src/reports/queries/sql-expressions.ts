import { type Parameters, type Statement, statement } from "@cell/postgres";
import { type Compilable, type RawBuilder, sql } from "kysely";
import type { Window } from "../time-window.ts";
import type { AsOf, Question } from "./opportunity-states.ts";

export type Grouping = "none" | "owner" | "month";
/** `bounds`: the beginnings of the months, and the window's end; none where nothing is grouped by month. */
export type Grouped = Question & Window & { bounds: string[] };

// Planned afresh at each run, for the moment, the window and the filters that are asked for; of very many opportunities it takes seconds.
export const unprepared = { keep: false, long: true };
/** A window's two ends, as expressions. */
export type Bounds = Record<"from" | "to", RawBuilder<unknown>>;
export const within = (at: RawBuilder<unknown>, { from, to }: Bounds) => sql<boolean>`${at} >= ${from} and ${at} < ${to}`;
export const windowOf = (p: Parameters<Window>): Bounds => ({ from: sql`${p.from}::timestamptz`, to: sql`${p.to}::timestamptz` });
/** A span in seconds, exactly. */
export const epoch = (span: RawBuilder<unknown>) => sql<string>`extract(epoch from ${span})`;
export const count = sql<number>`count(*)`;

/** A statement for each tense. */
export function inEachAsOf<P, R>(build: (p: Parameters<P>, asOf: AsOf) => Compilable<R>): Record<AsOf, Statement<P, R>> {
  const of = (asOf: AsOf) => statement((p: Parameters<P>) => build(p, asOf), unprepared);
  return { present: of("present"), past: of("past") };
}

/** The rows of a statement that is there for each tense. */
export type RowsOf<S> = S extends Record<AsOf, Statement<never, infer Row>> ? Row : never;

/** What rows are grouped by, out of the time that counts for them: nothing, their owner, or their month's number from 1. */
export const groupKeys: Record<Grouping, (p: Parameters<Grouped>, at: RawBuilder<unknown>) => RawBuilder<string | null>> = {
  none: () => sql<null>`null::text`,
  owner: () => sql<string>`state.owner_id`,
  month: (p, at) => sql<string>`width_bucket(${at}, ${p.bounds}::timestamptz[])::text`,
};
