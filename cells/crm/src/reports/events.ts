import { type Parameters, statement, type TenantDb } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db } from "../tables.ts";
import { cohortOf } from "./cohort.ts";
import { added, byDay, dayOf, type Later, sumDays } from "./days.ts";
import { type Question, states, type Tense } from "./states.ts";
import {
  type Between,
  count,
  epoch,
  type Grouped,
  type Grouping,
  groupKeys,
  inEachTense,
  once,
  type RowsOf,
  windowOf,
  within,
} from "./sums.ts";

type Happening = "created" | "won" | "lost";

const none = sql<string | null>`null::text`;
const createdAt = sql`created_at`;
const closedAt = sql`closed_at`;

const happened = (
  p: Parameters<Question>,
  tense: Tense,
  kind: RawBuilder<Happening>,
  group: RawBuilder<string | null>,
  cycle: RawBuilder<string | null>,
) =>
  states(p, tense)
    .select([kind.as("kind"), "currency", group.as("group")])
    .select([count.as("count"), sql<string>`sum(amount)`.as("amount"), cycle.as("cycleSeconds")])
    .groupBy([sql`1`, "currency", sql`3`]);

const created = (p: Parameters<Question>, tense: Tense, group: RawBuilder<string | null>) =>
  happened(p, tense, sql`'created'`, group, sql`null::numeric`);
const closed = (p: Parameters<Question>, tense: Tense, group: RawBuilder<string | null>) =>
  happened(p, tense, sql`stage_type`, group, epoch(sql`sum(closed_at - created_at)`));

const eventSums = (grouping: Grouping) =>
  inEachTense((p: Parameters<Grouped>, tense) => {
    const group = (at: RawBuilder<unknown>) => groupKeys[grouping](p, at);
    // Each reads a stretch of the index on its own time.
    return created(p, tense, group(createdAt))
      .where(within(createdAt, windowOf(p)))
      .unionAll(closed(p, tense, group(closedAt)).where(within(closedAt, windowOf(p))));
  });

const events = { none: eventSums("none"), owner: eventSums("owner"), month: eventSums("month") };

export type EventSums = RowsOf<(typeof events)["none"]>;

const closedBetween = statement(
  (p: Parameters<Question & Between>) => closed(p, "present", none).where(within(closedAt, windowOf(p))),
  once,
);

/** By the day of closing. */
const closedDays = byDay<Question, EventSums>(
  closedAt,
  (p) => closed(p, "present", none),
  // Whatever it was closed on before: it may have been opened again, or another time have been given.
  statement((p) =>
    db
      .selectFrom("opportunityHistory")
      .select(dayOf(closedAt).as("day"))
      .distinct()
      .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[]) and closed_at is not null`),
  ),
);

/** What was created, won and lost in the window, by currency and group. Of what is, whole days are remembered where nothing is grouped: see `sumDays`. */
export async function sumEvents(tenant: TenantDb, tense: Tense, grouping: Grouping, question: Grouped, later: Later): Promise<EventSums[]> {
  if (tense === "past" || grouping !== "none") return tenant.query(events[grouping][tense], question);
  const between = (from: string, to: string) => tenant.query(closedBetween, { ...question, from, to });
  const [begun, ended] = await Promise.all([
    cohortOf(tenant, tense, question, question, later),
    sumDays(tenant, closedDays, question, question, between, later),
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
    ...added<EventSums>(made, ["kind", "currency"], ["count", "amount"]),
    ...added(ended, ["kind", "currency"], ["count", "amount", "cycleSeconds"]),
  ];
}
