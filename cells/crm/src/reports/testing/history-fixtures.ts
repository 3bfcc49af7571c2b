import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { expect } from "vitest";
import { progressOfHistory } from "../../migrations/0009_reports.ts";
import { reEntriesOfHistory } from "../../migrations/0013_stays.ts";
import { inspect } from "../../testing/test-crm.ts";

/** One row of `opportunity_history`, as far as reports depend on it. */
export interface HistoryFixture {
  opportunityId: string;
  seq: number;
  moved: boolean;
  fromStage: string | null;
  pipelineId: string;
  stage: string;
  stageType: "open" | "won" | "lost";
  /** A decimal of at most 4 places. */
  amount: string;
  currency: string;
  probability: number;
  expectedCloseDate: string | null;
  closedAt: string | null;
  ownerId: string;
  deleted: boolean;
  /** RFC 3339, UTC, milliseconds. */
  at: string;
}

const historySql = `insert into $tenant.opportunity_history (opportunity_id, seq, moved, from_stage, pipeline_id, stage, stage_type, amount, currency,
    probability, expected_close_date, closed_at, owner_id, customer_id, deleted, at, actor_id, request_id)
  select "opportunityId", seq, moved, "fromStage", "pipelineId", stage, "stageType", amount, currency, probability, "expectedCloseDate", "closedAt",
    "ownerId", $2, deleted, at, 'user-001', 'planted'
  from json_to_recordset($1::json) as past("opportunityId" uuid, seq int, moved boolean, "fromStage" text, "pipelineId" uuid, stage text,
    "stageType" text, amount numeric, currency text, probability numeric, "expectedCloseDate" date, "closedAt" timestamptz, "ownerId" text,
    deleted boolean, at timestamptz)`;

const opportunitiesSql = `insert into $tenant.opportunities (opportunity_id, customer_id, name, amount, currency, pipeline_id, stage, status, probability,
    probability_overridden, expected_close_date, owner_id, closed_at, stage_entered_at, history_seq, entered, created_at, updated_at, deleted_at, version)
  select distinct on (opportunity_id) opportunity_id, customer_id, 'Planted', amount, currency, pipeline_id, stage, stage_type, probability,
    false, expected_close_date, owner_id, closed_at, max(at) filter (where moved) over w, seq, 0, min(at) over w, at, case when deleted then at end, seq
  from $tenant.opportunity_history window w as (partition by opportunity_id) order by opportunity_id, seq desc`;

/** Inserts opportunities with these histories directly: no request could create them at such times. */
export async function plant(tenantId: string, histories: readonly HistoryFixture[], customerId: string): Promise<void> {
  await inspect(tenantId, historySql, [JSON.stringify(histories), customerId]);
  await inspect(tenantId, opportunitiesSql);
  for (const text of [...progressOfHistory, reEntriesOfHistory]) await inspect(tenantId, text.replaceAll('"$tenant"', "$tenant"));
}

/** A pipeline for tests. */
export interface TestPipeline {
  pipelineId: string;
  stages: { stage: string; type: HistoryFixture["stageType"]; probability: number }[];
}

/** The history of an opportunity that only moves. `moves`: `[stage, day]` in 2026. */
function movesOf(
  { pipelineId, stages }: TestPipeline,
  given: Pick<HistoryFixture, "amount" | "expectedCloseDate"> & { probability?: number },
  moves: readonly (readonly [string, string])[],
): HistoryFixture[] {
  const opportunityId = randomUUID();
  return moves.map(([stage, day], index) => {
    const { type, probability } = stages.find((known) => known.stage === stage) ?? { type: "open", probability: 0 };
    const at = `2026-${day}T00:00:00.000Z`;
    const isOpen = type === "open";
    return {
      opportunityId,
      seq: index + 1,
      moved: true,
      fromStage: moves[index - 1]?.[0] ?? null,
      pipelineId,
      stage,
      stageType: type,
      amount: given.amount,
      currency: "CNY",
      probability: (isOpen ? given.probability : undefined) ?? probability,
      expectedCloseDate: given.expectedCloseDate,
      closedAt: isOpen ? null : at,
      ownerId: "user-001",
      deleted: false,
      at,
    };
  });
}

/** A tenant for tests. */
export interface Tenant {
  tenantId: string;
  admin: TestClient;
  customerId: string;
  pipeline: TestPipeline;
}

/** A tenant with these settings, a customer and the default pipeline. */
export async function makeTenant(cell: TestCell, settings: object = {}): Promise<Tenant> {
  const tenantId = await cell.tenant();
  const admin = cell.client(tenantId);
  if (Object.keys(settings).length > 0) expect((await admin.patch("/settings", { body: settings })).status).toBe(200);
  const { customerId } = (await admin.post("/customers", { body: { name: "Reported" } })).body;
  return { tenantId, admin, customerId, pipeline: (await admin.get("/pipelines")).body.data[0] };
}

/** The body of a report. */
export const get = async (client: TestClient, path: string) => {
  const response = await client.get(path);
  expect(response.status, response.text).toBe(200);
  return response.body;
};

/** Opportunities that only moved, by default into the first stage on 10 January 2026, each with the given fields. */
export const planted = (
  { pipeline }: Tenant,
  given: readonly (Partial<HistoryFixture> & { moves?: [string, string][] })[],
): HistoryFixture[] =>
  given.flatMap(({ moves = [["prospecting", "01-10"]], ...fields }) =>
    movesOf(pipeline, { amount: "100", expectedCloseDate: "2026-04-10" }, moves).map((row) => ({ ...row, ...fields })),
  );

/** Stores opportunities that only moved: see `planted`. */
export function plantMoves(tenant: Tenant, given: Parameters<typeof planted>[1]): Promise<void> {
  return plant(tenant.tenantId, planted(tenant, given), tenant.customerId);
}

/** Every report, ready for more parameters. */
export const paths = [
  "/pipeline/summary?from=2026-01-01&",
  "/pipeline/funnel?",
  "/reports/funnel?groupBy=owner&",
  "/reports/funnel?groupBy=month&",
  "/opportunities/forecast?",
  "/metrics?",
];

/** The moment of most questions. */
export const march = "asOf=2026-03-01T00:00:00Z";
