import type { TestCell } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inspect, startCrm } from "../../testing/test-crm.ts";
import { get, makeTenant } from "../testing/history-fixtures.ts";

let cell: TestCell;
beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

type Stage = { stageId: string; entries: number; opportunities: number };
const figuresOf = (body: { stages: Stage[] }, stageId: string) => {
  const found = body.stages.find((stage) => stage.stageId === stageId);
  return [found?.entries, found?.opportunities];
};

test("an opportunity that re-enters a stage counts once in the window, and once in each month of an arrival", async () => {
  const { admin, customerId } = await makeTenant(cell);
  const stageHistory = ["2026-01-05", "2026-01-10", "2026-02-05", "2026-02-06", "2026-02-07"].map((enteredAt, index) => ({
    stage: index % 2 === 0 ? "prospecting" : "qualification",
    enteredAt,
  }));
  const items = [{ customerId, name: "Back and forth", stage: "prospecting", stageHistory }];
  const imported = await admin.post("/opportunities/import", { body: { items } });
  expect(imported.body, imported.text).toMatchObject({ created: 1 });

  const report = (query: string) => get(admin, `/reports/funnel?from=2026-01-01&to=2026-02-28&groupBy=month&${query}`);
  // One that reads all, and one that picks those of a currency.
  for (const query of ["", "currency=CNY"]) {
    const all = await report(query);
    expect(figuresOf(all, "prospecting")).toEqual([3, 1]);
    expect(figuresOf(all, "qualification")).toEqual([2, 1]);
    expect(all.groups.map((group: { stages: Stage[] }) => figuresOf(group, "prospecting"))).toEqual([
      [1, 1],
      [2, 1],
    ]);
    // It was there before the moment only once.
    expect(figuresOf(await report(`${query}&asOf=2026-02-01`), "prospecting")).toEqual([1, 1]);
  }
});

test("whatever writes an arrival, it tells of the last one in the same stage", async () => {
  const { tenantId, admin, customerId } = await makeTenant(cell);
  const move = async (id: string, body: object) => expect((await admin.patch(`/opportunities/${id}`, { body })).status).toBe(200);
  const { opportunityId: id } = (await admin.post("/opportunities", { body: { customerId, name: "Moved" } })).body;
  for (const stage of ["qualification", "prospecting", "won", "prospecting", "qualification"]) await move(id, { stage });
  await move(id, { amount: "5" });
  const stages = [
    { stage: "prospecting", name: "P", type: "open", probability: 10 },
    { stage: "won", name: "W", type: "won" },
    { stage: "lost", name: "L", type: "lost" },
  ];
  const { pipelineId: other } = (await admin.post("/pipelines", { body: { name: "Other", stages } })).body;
  const { pipelineId } = (await admin.get(`/opportunities/${id}`)).body;
  await move(id, { pipelineId: other, stage: "prospecting" });
  await move(id, { pipelineId, stage: "prospecting" });
  const items = [{ opportunityId: id, stage: "qualification" }];
  const imported = await admin.post("/opportunities/import", { body: { items, mode: "update" } });
  expect(imported.body, imported.text).toMatchObject({ updated: 1 });

  const rows = await inspect<{ stage: string; isReturn: boolean; isRight: boolean }>(
    tenantId,
    `select stage, arrived_before_at is not null as "isReturn", arrived_before_at is not distinct from (
        select max(at) from $tenant.opportunity_history as earlier
        where earlier.opportunity_id = arrival.opportunity_id and earlier.seq < arrival.seq and earlier.moved and arrival.moved
          and earlier.pipeline_id = arrival.pipeline_id and earlier.stage = arrival.stage and arrival.stage_type = 'open') as "isRight"
      from $tenant.opportunity_history as arrival order by seq`,
  );
  expect(rows.map(({ isRight }) => isRight)).toEqual(rows.map(() => true));
  expect(rows.map(({ stage, isReturn }) => (isReturn ? `${stage} again` : stage))).toEqual([
    "prospecting",
    "qualification",
    "prospecting again",
    "won",
    "prospecting again",
    "qualification again",
    "qualification",
    "prospecting",
    "prospecting again",
    "qualification again",
  ]);
});
