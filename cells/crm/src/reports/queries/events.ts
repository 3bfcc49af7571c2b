import { type Parameters, statement } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db } from "../../tables.ts";
import type { Window } from "../time-window.ts";
import { readCohort } from "./cohort.ts";
import { aggregateByDay, dayOf, mergeTotals, sumWindow } from "./daily-aggregates.ts";
import { type AsOf, opportunitiesAsOf, type Question } from "./opportunity-states.ts";
import type { ReportReader } from "./report-reader.ts";
import {
  count,
  epoch,
  type Grouped,
  type Grouping,
  groupKeys,
  inEachAsOf,
  type RowsOf,
  unprepared,
  windowOf,
  within,
} from "./sql-expressions.ts";

type Happening = "created" | "won" | "lost";

const none = sql<string | null>`null::text`;
const createdAt = sql`created_at`;
const closedAt = sql`closed_at`;

const happened = (
  p: Parameters<Question>,
  asOf: AsOf,
  kind: RawBuilder<Happening>,
  group: RawBuilder<string | null>,
  cycle: RawBuilder<string | null>,
) =>
  opportunitiesAsOf(p, asOf)
    .select([kind.as("kind"), "currency", group.as("group")])
    .select([count.as("count"), sql<string>`sum(amount)`.as("amount"), cycle.as("cycleSeconds")])
    .groupBy([sql`1`, "currency", sql`3`]);

const created = (p: Parameters<Question>, asOf: AsOf, group: RawBuilder<string | null>) =>
  happened(p, asOf, sql`'created'`, group, sql`null::numeric`);
const closed = (p: Parameters<Question>, asOf: AsOf, group: RawBuilder<string | null>) =>
  happened(p, asOf, sql`stage_type`, group, epoch(sql`sum(closed_at - created_at)`));

const eventSums = (grouping: Grouping) =>
  inEachAsOf((p: Parameters<Grouped>, asOf) => {
    const group = (at: RawBuilder<unknown>) => groupKeys[grouping](p, at);
    // Each reads a range of the index on its own time.
    return created(p, asOf, group(createdAt))
      .where(within(createdAt, windowOf(p)))
      .unionAll(closed(p, asOf, group(closedAt)).where(within(closedAt, windowOf(p))));
  });

const events = { none: eventSums("none"), owner: eventSums("owner"), month: eventSums("month") };

export type EventSums = RowsOf<(typeof events)["none"]>;

const closedBetween = statement(
  (p: Parameters<Question & Window>) => closed(p, "present", none).where(within(closedAt, windowOf(p))),
  unprepared,
);

/** By the day of closing. */
const closedDays = aggregateByDay<Question, EventSums>(
  closedAt,
  (p) => closed(p, "present", none),
  // All days on which it was ever closed: it may have been reopened, or its time changed.
  statement((p) =>
    db
      .selectFrom("opportunityHistory")
      .select(dayOf(closedAt).as("day"))
      .distinct()
      .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[]) and closed_at is not null`),
  ),
);

/** What was created, won and lost in the window, by currency and group. `bounds`: those of the months, if the groups are months. */
export function sumEvents(reader: ReportReader, grouping: Grouping, window: Window, bounds: string[] = []): Promise<EventSums[]> {
  return reader.readCached(["events", grouping, bounds, window], (asOf) =>
    asOf === "past" || grouping !== "none"
      ? reader.tenant.query(events[grouping][asOf], { ...reader.question, ...window, bounds })
      : sumPresentEvents(reader, window),
  );
}

/** Ungrouped events of the present, whose whole days are cached: see `sumWindow`. */
async function sumPresentEvents(reader: ReportReader, window: Window): Promise<EventSums[]> {
  const { tenant, question } = reader;
  const between = (from: string, to: string) => tenant.query(closedBetween, { ...question, from, to });
  const [begun, ended] = await Promise.all([
    readCohort(reader, "present", window),
    sumWindow(reader, closedDays, question, window, between),
  ]);
  const made = begun.map(({ currency, count, amount }) => ({
    kind: "created" as const,
    currency,
    group: null,
    count,
    amount,
    cycleSeconds: null,
  }));
  return [
    ...mergeTotals<EventSums>(made, ["kind", "currency"], ["count", "amount"]),
    ...mergeTotals(ended, ["kind", "currency"], ["count", "amount", "cycleSeconds"]),
  ];
}
