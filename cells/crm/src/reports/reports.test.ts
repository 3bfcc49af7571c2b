import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCrm } from "../testing/test-crm.ts";
import { askOf, generateTenant, type Questions, questions } from "./testing/generated-tenants.ts";
import { get, makeTenant, march, paths, plant, planted, plantMoves, type Tenant } from "./testing/history-fixtures.ts";

let cell: TestCell;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

describe("what holds for all histories", () => {
  test("the funnel narrows, its parts make its whole, and the reports agree with each other", async () => {
    const check = async ({ given, asks }: Questions) => {
      const { admin, data } = await generateTenant(cell, given);
      for (const one of asks.slice(0, 3)) {
        const { path, asked } = askOf(one, data);
        const funnel = await get(admin, `/pipeline/funnel?${path}`);
        const summary = await get(admin, `/pipeline/summary?${path}`);
        const report = await get(admin, `/reports/funnel?${path}&groupBy=month`);
        const { from: _from, to: _to, ...question } = asked;
        const metrics = await get(admin, `/metrics?${new URLSearchParams({ ...question })}`);
        const counts: number[] = funnel.stages.map(({ count }: { count: number }) => count);
        const sum = (rows: Record<string, number>[], name: string) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);

        expect(counts).toEqual([...counts].sort((a, b) => b - a));
        expect(funnel.won + funnel.lost + funnel.open).toBe(funnel.cohort);
        expect(sum(funnel.stages, "lostFromHere")).toBe(funnel.lost);
        expect(sum(funnel.stages, "currentCount")).toBe(funnel.open + funnel.won);
        for (const { entries, advanced, lost, regressed, movedPipeline, still } of [report, ...report.groups].flatMap(
          ({ stages }) => stages,
        ))
          expect(advanced + lost + regressed + movedPipeline + still).toBe(entries);
        for (const [index, stage] of report.stages.entries())
          expect(report.groups.reduce((total: number, { stages }: typeof report) => total + stages[index].entries, 0)).toBe(stage.entries);

        expect(summary.totals.count).toBe(sum(summary.stages, "count"));
        expect(summary.period.created).toBe(funnel.cohort);
        expect(report.totals).toMatchObject({
          created: funnel.cohort,
          won: summary.period.won.count,
          lost: summary.period.lost.count,
          winRate: summary.period.winRate,
          avgSalesCycleDays: summary.period.avgSalesCycleDays,
        });
        expect(metrics.opportunities.open).toBe(summary.totals.count);
        expect(metrics.conversionRate).toBe(metrics.funnel.overallConversion);
      }
    };
    await fc.assert(fc.asyncProperty(questions, check), { numRuns: 4, interruptAfterTimeLimit: 30_000, endOnFailure: true });
  }, 60_000);

  test("the same question with the same asOf has the same answer after everything has changed", async () => {
    const { admin, customerId } = await makeTenant(cell);
    const create = async (body: object) =>
      (await admin.post("/opportunities", { body: { customerId, name: "To change", amount: "10.50", ...body } })).body.opportunityId;
    const ids = [await create({}), await create({ stage: "proposal" }), await create({ stage: "won" })];
    const onlyDeleted = await create({ amount: "3" });
    const asOf = `asOf=${new Date().toISOString()}`;
    await new Promise((resolve) => setTimeout(resolve, 5));
    const before = await Promise.all(paths.map((path) => get(admin, path + asOf)));
    expect((await admin.delete(`/opportunities/${onlyDeleted}`)).status).toBe(200);
    for (const id of ids) {
      const patch = {
        stage: "lost",
        lostReason: "price",
        amount: "99999",
        ownerId: "user-009",
        currency: "USD",
        expectedCloseDate: "2026-01-01",
      };
      expect((await admin.patch(`/opportunities/${id}`, { body: patch })).status).toBe(200);
      expect((await admin.delete(`/opportunities/${id}`)).status).toBe(200);
    }
    await create({ amount: "7" });
    expect(await Promise.all(paths.map((path) => get(admin, path + asOf)))).toEqual(before);
    expect(before[0].totals).toMatchObject({ count: 3, amount: "24.00" });
    expect((await get(admin, "/pipeline/summary")).totals).toMatchObject({ count: 1, amount: "7.00" });
    expect((await get(admin, "/pipeline/funnel")).cohort).toBe(1);
  });

  test("what is asked of now is answered the same when it has become the past, whatever way opportunities went", async () => {
    const { admin, customerId, pipeline } = await makeTenant(cell);
    const stages = pipeline.stages.map(({ stage, type }) => ({ stage, type, ...(type === "open" ? { probability: 50 } : {}) }));
    const other = (await admin.post("/pipelines", { body: { name: "Other", stages: stages.toReversed() } })).body;
    const { pipelineId } = pipeline;
    const lost = { stage: "lost", lostReason: "price" };
    const variants = [
      [{ stage: "proposal" }, { stage: "qualification" }, lost],
      [{ stage: "negotiation" }, { pipelineId: other.pipelineId, stage: "proposal" }, { pipelineId, stage: "prospecting" }],
      [lost, { pipelineId: other.pipelineId, stage: "won" }, { pipelineId, ...lost }],
      [{ stage: "qualification" }, { stage: "won" }, { stage: "proposal" }, { amount: "20" }],
    ];
    const ids: string[] = [];
    for (const progress of variants) {
      const made = await admin.post("/opportunities", { body: { customerId, name: "On its way", amount: "10" } });
      for (const step of progress)
        expect((await admin.patch(`/opportunities/${made.body.opportunityId}`, { body: step })).status).toBe(200);
      ids.push(made.body.opportunityId);
    }
    const questions = [pipelineId, other.pipelineId].flatMap((asked) => paths.map((path) => `${path}pipelineId=${asked}`));
    await new Promise((resolve) => setTimeout(resolve, 5));
    const then = await Promise.all(questions.map((question) => get(admin, question)));
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const id of ids)
      expect((await admin.patch(`/opportunities/${id}`, { body: { pipelineId, stage: "negotiation" } })).status).toBe(200);
    const again = await Promise.all(questions.map((question, index) => get(admin, `${question}&asOf=${then[index].asOf}`)));
    expect(again).toEqual(then);
    const funnel = then[questions.findIndex((question) => question.startsWith("/pipeline/funnel") && question.endsWith(pipelineId))];
    expect(funnel.stages.map(({ count }: { count: number }) => count)).toEqual([4, 3, 3, 2, 1]);
  });
});

test("what was acknowledged is in every report that is asked for after it, whichever process is asked", async () => {
  const { admin, customerId, tenantId } = await makeTenant(cell);
  const other = await startCrm();
  try {
    const clients = [admin, other.client(tenantId)];
    let acknowledged = 0;
    await Promise.all(
      Array.from({ length: 8 }, async (_, writer) => {
        for (let turn = 0; turn < 6; turn++) {
          const made = await admin.post("/opportunities", { body: { customerId, name: "Counted", amount: "1" } });
          expect(made.status).toBe(201);
          const least = ++acknowledged;
          const client = clients[(writer + turn) % 2] ?? admin;
          expect((await get(client, "/pipeline/funnel")).cohort).toBeGreaterThanOrEqual(least);
          expect((await get(client, "/reports/funnel")).totals.created).toBeGreaterThanOrEqual(least);
          expect((await get(client, "/metrics")).opportunities.open).toBeGreaterThanOrEqual(least);
          expect((await get(client, "/opportunities/forecast")).undated.count).toBeGreaterThanOrEqual(least);
        }
      }),
    );
    expect((await get(admin, "/pipeline/funnel")).cohort).toBe(48);
  } finally {
    await other.stop();
  }
});

describe("money", () => {
  const mixed = (tenant: Tenant) =>
    planted(tenant, [
      { amount: "100.005", currency: "CNY" },
      { amount: "0.01", currency: "USD" },
      { amount: "100.5", currency: "JPY", moves: [["proposal", "01-10"]] },
    ]);

  test("currencies are never added: without rates plain amounts are null, with them they are converted, rounded once", async () => {
    const tenant = await makeTenant(cell);
    await plant(tenant.tenantId, mixed(tenant), tenant.customerId);
    const byCurrency = [
      { currency: "CNY", count: 1, amount: "100.01", weightedAmount: "10.00" },
      { currency: "JPY", count: 1, amount: "101", weightedAmount: "50" },
      { currency: "USD", count: 1, amount: "0.01", weightedAmount: "0.00" },
    ];
    const summary = () => get(tenant.admin, `/pipeline/summary?${march}`);
    const before = await summary();
    expect(before).toMatchObject({ currency: null, converted: false, missingRates: ["JPY", "USD"], totals: { count: 3, amount: null } });
    expect(before.totals.byCurrency.map(({ _masked, ...row }: { _masked: unknown }) => row)).toEqual(byCurrency);
    expect(before.stages.map(({ amount }: { amount: unknown }) => amount)).toEqual([null, null, null, null]);

    await tenant.admin.patch("/settings", { body: { rates: { USD: "7.1" } } });
    expect(await summary()).toMatchObject({ currency: null, missingRates: ["JPY"] });
    await tenant.admin.patch("/settings", { body: { rates: { USD: "7.1", JPY: "0.05" } } });
    // 100.005 + 0.071 and 100.5 × 0.05
    const after = await summary();
    expect(after).toMatchObject({ currency: "CNY", converted: true, missingRates: [], totals: { count: 3, amount: "105.10" } });
    expect(after.stages.map(({ amount }: { amount: unknown }) => amount)).toEqual(["100.08", "0.00", "5.03", "0.00"]);

    expect(await get(tenant.admin, `/pipeline/summary?${march}&currency=JPY`)).toMatchObject({
      currency: "JPY",
      converted: false,
      totals: { count: 1, amount: "101" },
    });
  });

  test("without amount:read every amount is masked and every count is there, in the file too", async () => {
    const tenant = await makeTenant(cell);
    await plantMoves(tenant, [
      {},
      {
        moves: [
          ["prospecting", "01-05"],
          ["won", "02-01"],
        ],
      },
    ]);
    const permissions = tenant.admin.principal.permissions.filter((permission) => permission !== "amount:read");
    const blind = cell.client(tenant.tenantId, { permissions });
    const window = `${march}&from=2026-01-01`;
    const summary = await get(blind, `/pipeline/summary?${window}`);
    expect(summary.totals).toMatchObject({ count: 1, amount: "****", weightedAmount: "****", _masked: ["amount", "weightedAmount"] });
    expect(summary.period).toMatchObject({ winRate: 100, winRateByAmount: "****", won: { count: 1, amount: "****" } });
    expect(summary.totals.byCurrency[0]).toMatchObject({ currency: "CNY", count: 1, amount: "****" });
    for (const path of paths) expect((await blind.get(`${path}${march}`)).text).not.toMatch(/"\d+\.\d\d"/);
    expect((await get(blind, `/reports/funnel?${window}`)).totals).toMatchObject({ won: 1, wonAmount: "****", salesVelocity: "****" });
    const csv = (await blind.get(`/reports/funnel?${window}&format=csv`)).text;
    expect(csv).toContain("****");
    expect(csv).not.toContain("100.00");
  });
});

describe("who sees what", () => {
  test("who works on its own records is counted these alone, whatever it asks for", async () => {
    const tenant = await makeTenant(cell);
    await plantMoves(tenant, [{ ownerId: "user-001" }, { ownerId: "sales-1" }, { ownerId: "sales-1" }]);
    const sales = cell.client(tenant.tenantId, { userId: "sales-1", scope: "own" });
    const count = async (client: TestClient, query = "") => (await get(client, `/pipeline/summary?${march}${query}`)).totals.count;
    expect(await count(tenant.admin)).toBe(3);
    expect(await count(tenant.admin, "&ownerId=me")).toBe(1);
    expect(await count(tenant.admin, "&ownerId=sales-1")).toBe(2);
    expect(await count(sales)).toBe(2);
    expect(await count(sales, "&ownerId=me")).toBe(2);
    expect(await count(sales, "&ownerId=user-001")).toBe(0);
    expect((await get(sales, `/pipeline/funnel?${march}`)).cohort).toBe(2);
    expect((await get(sales, `/metrics?${march}`)).opportunities.open).toBe(2);
    expect((await get(sales, `/reports/funnel?${march}&groupBy=owner`)).groups.map(({ group }: { group: string }) => group)).toEqual([
      "sales-1",
    ]);
  });

  test("who works on its own records loses the past of a record that is given away, in reports, lists and exports as of an earlier time", async () => {
    const { tenantId, admin, customerId } = await makeTenant(cell);
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const made = async (ownerId: string) =>
      (await admin.post("/opportunities", { body: { customerId, name: "Deal", amount: "5", ownerId } })).body.opportunityId;
    const [given, received, stored] = [await made("sales-1"), await made("sales-2"), await made("sales-1")];
    const asOf = (await admin.get(`/opportunities/${stored}`)).body.createdAt;
    const change = async (id: string, body: object) => expect((await admin.patch(`/opportunities/${id}`, { body })).status).toBe(200);
    await change(given, { ownerId: "sales-2", name: "Secret name" });
    await change(given, { stage: "lost", lostReason: "secret reason" });
    await change(received, { ownerId: "sales-1" });
    const ids = async (path: string) => (await get(sales, path)).data.map((row: { opportunityId: string }) => row.opportunityId).sort();
    for (const query of [`?asOf=${asOf}`, `/export?asOf=${asOf}`, ""])
      expect(await ids(`/opportunities${query}`), query).toEqual([received, stored].sort());
    expect(await ids(`/opportunities?asOf=${asOf}&keyword=secret`)).toEqual([]);
    expect((await sales.get(`/opportunities/export?format=csv&asOf=${asOf}`)).text).not.toMatch(/secret/i);
    const summary = await get(sales, `/pipeline/summary?asOf=${asOf}`);
    expect(summary.totals.count).toBe(2);
    expect(await ids(summary.totals.links.count)).toEqual([received, stored].sort());
    expect((await get(sales, `/pipeline/funnel?asOf=${asOf}`)).cohort).toBe(2);
    expect((await get(sales, `/metrics?asOf=${asOf}`)).opportunities.open).toBe(2);
    expect((await get(sales, `/opportunities/forecast?asOf=${asOf}`)).undated.count).toBe(2);
    expect((await get(sales, `/reports/funnel?asOf=${asOf}`)).totals.created).toBe(2);
    expect((await get(admin, `/pipeline/summary?asOf=${asOf}&ownerId=sales-1`)).totals.count).toBe(2);
  });
});

test("without a pipeline the default one is reported, whichever that is now", async () => {
  const { admin, customerId, pipeline } = await makeTenant(cell);
  const stages = [
    { stage: "trial", name: "Trial", type: "open", probability: 50 },
    { stage: "won", name: "Won", type: "won" },
    { stage: "lost", name: "Lost", type: "lost" },
  ];
  const other = (await admin.post("/pipelines", { body: { name: "Other", stages } })).body;
  for (const name of ["A", "B"]) await admin.post("/opportunities", { body: { customerId, name, pipelineId: other.pipelineId } });
  const counted = async () => {
    const { pipelineId, totals } = await get(admin, "/pipeline/summary");
    const { cohort } = await get(admin, "/pipeline/funnel");
    const { opportunities } = await get(admin, "/metrics");
    return [pipelineId, totals.count, cohort, opportunities.open];
  };
  expect(await counted()).toEqual([pipeline.pipelineId, 0, 0, 0]);
  expect((await admin.patch(`/pipelines/${other.pipelineId}`, { body: { isDefault: true } })).status).toBe(200);
  expect(await counted()).toEqual([other.pipelineId, 2, 2, 2]);
});

test("who works on its own records has its own customers counted in the metrics", async () => {
  const { tenantId, admin } = await makeTenant(cell);
  const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
  await sales.post("/customers", { body: { name: "Own" } });
  expect([(await get(sales, "/metrics")).customers, (await get(admin, "/metrics")).customers]).toEqual([1, 2]);
});

test("the report as a file: a line per stage and a total, in all and for each group", async () => {
  const tenant = await makeTenant(cell);
  await plantMoves(tenant, [
    { ownerId: "=cmd" },
    {
      ownerId: "user-2",
      moves: [
        ["prospecting", "01-05"],
        ["won", "01-15"],
      ],
    },
  ]);
  const response = await tenant.admin.get(`/reports/funnel?${march}&from=2026-01&to=2026-01&groupBy=owner&format=csv`);
  expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
  expect(response.headers.get("content-disposition")).toBe('attachment; filename="funnel.csv"');
  const lines = response.text.split("\r\n");
  expect(lines[0]).toBe(
    "group,stageId,name,entries,opportunities,advanced,lost,regressed,movedPipeline,still,advanceRate,avgDays,medianDays,p90Days,created,won,wonAmount,lostAmount,winRate,winRateByAmount,avgSalesCycleDays,salesVelocity,currency",
  );
  expect(lines[1]).toBe(",prospecting,Prospecting,2,2,1,0,0,0,1,100,10,10,10,,,,,,,,,CNY");
  expect(lines[5]).toBe(",total,,,,,0,,,,,,,,2,1,100.00,0.00,100,100,10,20.00,CNY");
  expect(lines[6]).toBe("'=cmd,prospecting,Prospecting,1,1,0,0,0,0,1,,,,,,,,,,,,,CNY");
  expect(lines).toHaveLength(1 + 3 * 5 + 1);
});

test("a stage that was removed still has what was open there then", async () => {
  const tenant = await makeTenant(cell);
  const moves: [string, string][] = [
    ["prospecting", "01-05"],
    ["qualification", "01-15"],
    ["proposal", "02-15"],
  ];
  await plantMoves(tenant, [{ moves }]);
  const { pipelineId, stages } = tenant.pipeline;
  const rest = stages.filter(({ stage }) => stage !== "qualification");
  expect((await tenant.admin.patch(`/pipelines/${pipelineId}`, { body: { stages: rest } })).status).toBe(200);
  const summary = await get(tenant.admin, "/pipeline/summary?asOf=2026-02-01T00:00:00Z");
  expect(summary.stages.map(({ stageId, count }: Record<string, unknown>) => [stageId, count])).toEqual([
    ["prospecting", 0],
    ["proposal", 0],
    ["negotiation", 0],
    ["qualification", 1],
  ]);
  const report = await get(tenant.admin, `/reports/funnel?${march}`);
  expect(report.stages.map(({ stageId, advanced }: Record<string, unknown>) => [stageId, advanced])).toContainEqual(["qualification", 1]);
});
