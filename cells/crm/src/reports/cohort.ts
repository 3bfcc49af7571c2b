import { type Parts, rememberedParts } from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { opportunity } from "../opportunities/schema.ts";
import { type CohortDay, type CohortSums, cohortShape, createdDaysOf, sumCohort, sumCohortDays, sumCohortRange } from "./repository.ts";
import type { Question, Tense } from "./states.ts";
import type { Window } from "./window.ts";

const dayMs = 24 * 60 * 60 * 1000;

/**
 * What was created in the window, by all that a funnel distinguishes. Of what is, whole days are remembered: another window, or one in which
 * something has changed, costs the days that are new or changed, and not a look at each opportunity. `later`: see `rememberedParts`.
 */
export async function cohortOf(
  tenant: TenantDb,
  tense: Tense,
  question: Question,
  window: Window,
  later: (work: () => Promise<void>) => void,
): Promise<CohortSums[]> {
  const between = (from: string, to: string) => (from < to ? sumCohort(tenant, tense, { ...question, from, to }) : []);
  const [first, last] = [dayFrom(window.from, Math.ceil), dayFrom(window.to, Math.floor)];
  if (tense === "past" || first >= last) return between(window.from, window.to);
  const [before, days, after] = await Promise.all([
    between(window.from, first),
    rememberedParts(tenant, daysOf(tenant, question), first, last, later),
    between(last, window.to),
  ]);
  return added([...before, ...days, ...after]);
}

function daysOf(tenant: TenantDb, question: Question): Parts<CohortDay> {
  const { pipelineId, visibleTo, ownerId, currency } = question;
  return {
    type: opportunity.type,
    question: [pipelineId, visibleTo, ownerId, currency],
    shape: cohortShape(),
    partOf: ({ day }) => day,
    readRange: (from, to) => sumCohortRange(tenant, { ...question, from, to }),
    readParts: (days) => sumCohortDays(tenant, { ...question, days }),
    partsOf: (ids) => createdDaysOf(tenant, ids.filter(isUuid)),
  };
}

/** Rows with the same keys as one: their counts, and their amounts to the ten-thousandth, as they are stored. */
function added(rows: readonly CohortSums[]): CohortSums[] {
  const sums = new Map<string, { row: CohortSums; count: number; amount: bigint }>();
  for (const row of rows) {
    const name = `${row.stage} ${row.stageType} ${row.currency} ${row.entered} ${row.lastStage}`;
    const sum = sums.get(name);
    if (sum) {
      sum.count += row.count;
      sum.amount += tenThousandths(row.amount);
    } else sums.set(name, { row, count: row.count, amount: tenThousandths(row.amount) });
  }
  return [...sums.values()].map(({ row, count, amount }) => ({ ...row, count, amount: `${amount}e-4` }));
}

function tenThousandths(amount: string): bigint {
  const [whole = "", fraction = ""] = amount.split(".");
  return BigInt(whole + fraction.padEnd(4, "0"));
}

/** The beginning of a day in UTC that is next to a time. */
function dayFrom(time: string, round: (days: number) => number): string {
  return new Date(round(Date.parse(time) / dayMs) * dayMs).toISOString();
}

/** Among the ids of a type's entries are those of exports, which are no record's. */
function isUuid(id: string): boolean {
  return /^[0-9a-f-]{36}$/.test(id);
}
