import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import fc from "fast-check";
import { expect } from "vitest";
import { type HistoryFixture, plant, type TestPipeline } from "./history-fixtures.ts";
import type { Ask, TenantData } from "./reference-model.ts";

const owners = ["user-001", "user-002", "user-003"];
const minuteMs = 60_000;

const step = fc.record({
  kind: fc.constantFrom("move", "move", "move", "close", "pipeline", "amount", "currency", "owner", "date", "probability", "delete"),
  afterMinutes: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 30 * 24 * 60 })),
  number: fc.nat(999),
});
const story = fc.record({
  bornMinutes: fc.integer({ min: 0, max: 120 * 24 * 60 }),
  number: fc.nat(999),
  steps: fc.array(step, { maxLength: 9 }),
});
const generatedTenants = fc.record({
  stories: fc.array(story, { minLength: 12, maxLength: 40 }),
  timezone: fc.constantFrom("UTC", "Asia/Shanghai", "America/New_York"),
  rates: fc.constantFrom<Record<string, string>>({}, { USD: "7.1025" }, { USD: "7.1025", JPY: "0.0481" }),
  currencies: fc.constantFrom(["CNY"], ["USD"], ["CNY", "USD"], ["CNY", "USD", "JPY"]),
  stuckAfterDays: fc.integer({ min: 1, max: 40 }),
});
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never;

/** An opportunity's history, as the rules of opportunities would have written it. */
function historyOf(
  { bornMinutes, number, steps }: Story,
  pipelines: readonly TestPipeline[],
  currencies: readonly string[],
): HistoryFixture[] {
  const pick = <T>(from: readonly T[], index: number) => from[index % from.length] as T;
  const dateOf = (index: number) => (index % 5 === 0 ? null : new Date(Date.UTC(2026, 0, 1 + (index % 300))).toISOString().slice(0, 10));
  const amountOf = (index: number) => `${index * 37}.${String((index * 7919) % 10_000).padStart(4, "0")}`;
  const start = pick(pipelines, number % 7 === 0 ? 1 : 0);
  const first = pick(start.stages, number % 3 === 0 ? number : 0);
  let atMs = Date.UTC(2026, 0, 1) + bornMinutes * minuteMs;
  const at = () => new Date(atMs).toISOString();
  const entering = ({ stage, type, probability }: TestPipeline["stages"][number]) => ({ stage, stageType: type, probability });
  let row: HistoryFixture = {
    opportunityId: randomUUID(),
    seq: 1,
    moved: true,
    fromStage: null,
    pipelineId: start.pipelineId,
    ...entering(first),
    amount: amountOf(number),
    currency: pick(currencies, number),
    expectedCloseDate: dateOf(number),
    closedAt: first.type === "open" ? null : at(),
    ownerId: pick(owners, number),
    deleted: false,
    at: at(),
  };
  const rows = [row];
  for (const { kind, afterMinutes, number: chosen } of steps) {
    if (row.deleted) break;
    atMs += afterMinutes * minuteMs;
    const pipeline = pick(pipelines, kind === "pipeline" ? chosen : pipelines.findIndex(({ pipelineId }) => pipelineId === row.pipelineId));
    const ends = pipeline.stages.filter(({ type }) => type !== "open");
    const target = pick(kind === "close" ? ends : pipeline.stages, chosen);
    const moves = ["move", "close", "pipeline"].includes(kind) && (target.stage !== row.stage || pipeline.pipelineId !== row.pipelineId);
    const entered = target.type !== row.stageType;
    const change: Partial<HistoryFixture> = moves
      ? { pipelineId: pipeline.pipelineId, ...entering(target), closedAt: target.type === "open" ? null : entered ? at() : row.closedAt }
      : {
          ...(kind === "amount" ? { amount: amountOf(chosen) } : {}),
          ...(kind === "currency" ? { currency: pick(currencies, chosen) } : {}),
          ...(kind === "owner" ? { ownerId: pick(owners, chosen) } : {}),
          ...(kind === "date" ? { expectedCloseDate: dateOf(chosen) } : {}),
          ...(kind === "probability" && row.stageType === "open" ? { probability: chosen / 10 } : {}),
          ...(kind === "delete" && chosen % 3 === 0 ? { deleted: true } : {}),
        };
    row = { ...row, ...change, seq: row.seq + 1, moved: moves, fromStage: moves ? row.stage : null, at: at() };
    rows.push(row);
  }
  return rows;
}

const ask = fc.record({
  pipeline: fc.nat(1),
  ownerId: fc.option(fc.constantFrom(...owners), { nil: undefined, freq: 3 }),
  currency: fc.option(fc.constantFrom("CNY", "USD"), { nil: undefined, freq: 4 }),
  asOfMinutes: fc.integer({ min: 40 * 24 * 60, max: 260 * 24 * 60 }),
  fromDay: fc.integer({ min: 0, max: 150 }),
  lengthDays: fc.integer({ min: 0, max: 150 }),
  mode: fc.constantFrom("reached", "entered", "strict"),
  groupBy: fc.constantFrom("none", "owner", "month"),
});

/** A tenant with these histories, and its data for the reference model. */
export async function generateTenant(
  cell: TestCell,
  given: typeof generatedTenants extends fc.Arbitrary<infer T> ? T : never,
): Promise<{ data: TenantData; admin: TestClient; tenantId: string }> {
  const tenantId = await cell.tenant();
  const admin = cell.client(tenantId);
  const { timezone, rates, stuckAfterDays } = given;
  expect((await admin.patch("/settings", { body: { timezone, rates, stuckAfterDays } })).status).toBe(200);
  const stages = [
    { stage: "qualification", name: "Q", type: "open", probability: 15 },
    { stage: "trial", name: "T", type: "open", probability: 62.5 },
    { stage: "won", name: "W", type: "won" },
    { stage: "lost", name: "L", type: "lost" },
  ];
  expect((await admin.post("/pipelines", { body: { name: "Other", stages } })).status).toBe(201);
  const pipelines: TestPipeline[] = (await admin.get("/pipelines?sort=createdAt")).body.data;
  const { customerId } = (await admin.post("/customers", { body: { name: "Planted" } })).body;
  const histories = given.stories.map((one) => historyOf(one, pipelines, given.currencies));
  await plant(tenantId, histories.flat(), customerId);
  return { data: { histories, pipelines, timezone, currency: "CNY", rates, stuckAfterDays }, admin, tenantId };
}

export const questions = fc.record({ given: generatedTenants, asks: fc.array(ask, { minLength: 6, maxLength: 6 }) });
export type Questions = typeof questions extends fc.Arbitrary<infer T> ? T : never;

/** A question about a generated tenant: for the reference model, and as a query. */
export function askOf(given: Questions["asks"][number], data: TenantData): { asked: Ask; path: string } {
  const dayOf = (day: number) => new Date(Date.UTC(2026, 0, 1 + day)).toISOString().slice(0, 10);
  const asked: Ask = {
    pipelineId: data.pipelines[given.pipeline]?.pipelineId ?? "",
    ...(given.ownerId === undefined ? {} : { ownerId: given.ownerId }),
    ...(given.currency === undefined ? {} : { currency: given.currency }),
    asOf: new Date(Date.UTC(2026, 0, 1) + given.asOfMinutes * minuteMs).toISOString(),
    from: dayOf(given.fromDay),
    to: dayOf(given.fromDay + given.lengthDays),
  };
  return { asked, path: String(new URLSearchParams({ ...asked })) };
}
