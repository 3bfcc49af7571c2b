import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Pipeline } from "../pipelines/schema.ts";
import { changedOpportunity, historyOf, importedOpportunity, newOpportunity, type TrackedOpportunity } from "./domain.ts";
import { historyFrom } from "./imports/imported-history.ts";
import type { OpportunityPatch } from "./schema.ts";

const stage = (name: string, type: "open" | "won" | "lost", probability: number) => ({ stage: name, name, type, probability });
const pipelineOf = (pipelineId: string, prefix: string): Pipeline => ({
  pipelineId,
  name: pipelineId,
  isDefault: false,
  stages: [stage(`${prefix}1`, "open", 10), stage(`${prefix}2`, "open", 60), stage("won", "won", 100), stage("lost", "lost", 0)],
  createdAt: "2026-01-01T00:00:00.000Z",
  updatedAt: "2026-01-01T00:00:00.000Z",
  version: 1,
});
const pipelines = { a: pipelineOf("a", "x"), b: pipelineOf("b", "y") };
const actor = { userId: "user-001", ownOnly: false };
const by = { actorId: "user-001", requestId: "r" };
const time = (day: number) => new Date(Date.UTC(2026, 0, 1 + day)).toISOString();
const made = { opportunityId: "o", currency: "CNY", now: time(0) };

const patches = fc.record(
  {
    name: fc.constantFrom("n", "m"),
    amount: fc.constantFrom("1", "2.5"),
    pipelineId: fc.constantFrom("a", "b"),
    stage: fc.constantFrom(0, 1, 2, 3),
    probability: fc.option(fc.integer({ min: 0, max: 100 })),
    ownerId: fc.constantFrom("user-001", "user-002"),
    lostReason: fc.constant("price"),
  },
  { requiredKeys: [] },
);

/** Carries out changes one after the other, some of them by a clock that is behind. */
function readAllPages(
  changes: readonly { stage?: number; pipelineId?: string; lostReason?: string }[],
  each: (before: TrackedOpportunity, after: TrackedOpportunity, patch: OpportunityPatch) => void,
) {
  let current = newOpportunity({ customerId: "c", name: "n" }, pipelines.a, actor, made);
  changes.forEach(({ stage: index, ...change }, step) => {
    const pipeline = pipelines[(change.pipelineId ?? current.pipelineId) as "a" | "b"];
    const patch = { ...change, ...(index === undefined ? {} : { stage: pipeline.stages[index]?.stage }) } as OpportunityPatch;
    const isLost = index === 3 || (index === undefined && current.status === "lost");
    const given = isLost ? { ...patch, lostReason: "price" } : patch;
    const after = changedOpportunity(current, given, pipeline, time(step % 5 === 4 ? 0 : step + 1));
    each(current, after, given);
    current = after;
  });
}

describe("after any changes", () => {
  test("status follows the stage, probability its rules, closedAt and lostReason are there exactly when closed or lost", () => {
    fc.assert(
      fc.property(fc.array(patches, { maxLength: 12 }), (changes) => {
        readAllPages(changes, (before, after, patch) => {
          const at = pipelines[after.pipelineId as "a" | "b"].stages.find((known) => known.stage === after.stage);
          expect(after.status).toBe(at?.type);
          expect(after.closedAt !== null).toBe(after.status !== "open");
          expect(after.lostReason !== null).toBe(after.status === "lost");
          const moved = before.stage !== after.stage || before.pipelineId !== after.pipelineId;
          if (after.status !== "open") expect(after.probability).toBe(at?.probability);
          else if (patch.probability != null) expect([after.probability, after.probabilityOverridden]).toEqual([patch.probability, true]);
          else if (moved) expect([after.probability, after.probabilityOverridden]).toEqual([at?.probability, false]);
          if (before.status === after.status) expect(after.closedAt).toBe(before.closedAt);
          else if (after.closedAt !== null) expect(after.closedAt).toBe(after.updatedAt);
        });
      }),
    );
  });

  test("history is gapless, in order of time, and ends in what the opportunity is", () => {
    fc.assert(
      fc.property(fc.array(patches, { maxLength: 12 }), (changes) => {
        let seq = 1;
        readAllPages(changes, (before, after) => {
          const row = historyOf(before, after, by);
          expect(after.historySeq).toBe(row ? seq + 1 : seq);
          if (!row) return;
          seq = row.seq;
          expect(row.at >= before.updatedAt).toBe(true);
          expect(row.moved).toBe(before.stage !== after.stage || before.pipelineId !== after.pipelineId);
          expect(row.fromStage).toBe(row.moved ? before.stage : null);
          expect([row.stage, row.stageType, row.amount, row.ownerId, row.closedAt]).toEqual([
            after.stage,
            after.status,
            after.amount,
            after.ownerId,
            after.closedAt,
          ]);
        });
      }),
    );
  });

  test("the same change again changes nothing", () => {
    fc.assert(
      fc.property(fc.array(patches, { maxLength: 6 }), (changes) => {
        readAllPages(changes, (_, after, patch) => {
          expect(changedOpportunity(after, patch, pipelines[after.pipelineId as "a" | "b"], time(50))).toBe(after);
        });
      }),
    );
  });
});

test("an imported past gives one row of history for each stage, each from the one before", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 8 }),
      (steps) => {
        const distinct = steps.filter(([index], at) => index !== steps[at - 1]?.[0]);
        let day = 0;
        const stageHistory = distinct.map(([index, later]) => {
          day += later;
          return { stage: pipelines.a.stages[index]?.stage ?? "", enteredAt: time(day).slice(0, 10) };
        });
        const imported = historyFrom({ stageHistory }, pipelines.a, { timezone: "UTC", now: time(100) });
        const { row, history } = importedOpportunity({ customerId: "c", name: "n" }, imported, pipelines.a, actor, {
          ...made,
          now: time(100),
          requestId: "r",
        });
        expect(history.map(({ seq, moved }) => [seq, moved])).toEqual(stageHistory.map((_, index) => [index + 1, true]));
        expect(history.map(({ stage: entered, at }) => ({ stage: entered, enteredAt: at.slice(0, 10) }))).toEqual(stageHistory);
        expect(history.map(({ fromStage }) => fromStage)).toEqual([null, ...stageHistory.slice(0, -1).map(({ stage: before }) => before)]);
        expect([row.historySeq, row.createdAt, row.stageEnteredAt]).toEqual([history.length, history[0]?.at, history.at(-1)?.at]);
        expect(row.closedAt).toBe(row.status === "open" ? null : history.at(-1)?.at);
      },
    ),
  );
});
