import { type TestCell, type TestClient, testMetricsToken } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { publication } from "../publication.ts";
import { startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let admin: TestClient;

const asOf = "asOf=2026-03-01T00:00:00Z";

beforeAll(async () => {
  cell = await startCrm();
  admin = cell.client(await cell.tenant());
  const { customerId } = (await admin.post("/customers", { body: { name: "Golden" } })).body;
  const item = (name: string, amount: string, expectedCloseDate: string, ...stageHistory: string[]) => ({
    customerId,
    name,
    amount,
    expectedCloseDate,
    stageHistory: stageHistory.map((move) => move.replace("@", "@2026-")),
    ...(name === "O5" ? { probability: 90 } : {}),
    ...(stageHistory.at(-1)?.startsWith("lost") ? { lostReason: "price" } : {}),
  });
  const items = [
    item("O1", "100000", "2026-03-31", "prospecting@01-05", "qualification@01-10", "proposal@01-20", "negotiation@02-01", "won@02-10"),
    item("O2", "50000", "2026-03-15", "prospecting@01-08", "qualification@01-18", "lost@01-28"),
    item("O3", "80000", "2026-03-31", "prospecting@01-15", "proposal@01-25", "qualification@02-05", "proposal@02-15"),
    item("O4", "20000", "2026-02-28", "prospecting@01-20"),
    item("O5", "60000", "2026-04-15", "prospecting@01-31", "qualification@02-10", "negotiation@02-20"),
    item("O6", "40000", "2026-03-01", "prospecting@02-03", "lost@02-06"),
  ];
  const imported = await admin.post("/opportunities/import", { body: { items, mode: "create" } });
  expect(imported.body, imported.text).toMatchObject({ created: 6, failed: 0 });
});
afterAll(() => cell.stop());

const get = async (path: string) => {
  const response = await admin.get(path);
  expect(response.status, response.text).toBe(200);
  return response.body;
};

test("the summary of the golden data set", async () => {
  const { stages, totals, attention, period, ...rest } = await get(`/pipeline/summary?${asOf}&from=2026-01-01&to=2026-02-28`);
  expect(rest).toMatchObject({
    asOf: "2026-03-01T00:00:00.000Z",
    timezone: "UTC",
    currency: "CNY",
    window: { from: "2026-01-01T00:00:00.000Z", to: "2026-03-01T00:00:00.000Z" },
  });
  expect(
    stages.map((stage: Record<string, unknown>) => [
      stage.stageId,
      stage.order,
      stage.probability,
      stage.count,
      stage.amount,
      stage.weightedAmount,
    ]),
  ).toEqual([
    ["prospecting", 1, 10, 1, "20000.00", "2000.00"],
    ["qualification", 2, 20, 0, "0.00", "0.00"],
    ["proposal", 3, 50, 1, "80000.00", "40000.00"],
    ["negotiation", 4, 80, 1, "60000.00", "54000.00"],
  ]);
  expect(stages.map((stage: Record<string, unknown>) => [stage.avgAgeDays, stage.avgDaysInStage, stage.stuckCount])).toEqual([
    [40, 40, 1],
    [null, null, 0],
    [45, 14, 0],
    [29, 9, 0],
  ]);
  expect(totals).toMatchObject({
    count: 3,
    amount: "160000.00",
    weightedAmount: "96000.00",
    byCurrency: [{ currency: "CNY", count: 3, amount: "160000.00", weightedAmount: "96000.00" }],
  });
  expect(attention).toMatchObject({ overdue: 1, stuck: 1 });
  expect(period).toMatchObject({
    created: 6,
    won: { count: 1, amount: "100000.00" },
    lost: { count: 2, amount: "90000.00" },
    winRate: 33.33,
    winRateByAmount: 52.63,
    avgSalesCycleDays: 36,
  });
});

test("the January cohort's funnel of the golden data set, in its three modes", async () => {
  const window = `${asOf}&from=2026-01-01&to=2026-01-31`;
  const { stages, ...rest } = await get(`/pipeline/funnel?${window}`);
  expect(rest).toMatchObject({ mode: "reached", cohort: 5, won: 1, lost: 1, open: 3, overallConversion: 20 });
  const counts = async (mode: string) =>
    (await get(`/pipeline/funnel?${window}&mode=${mode}`)).stages.map((stage: { count: number }) => stage.count);
  const [entered, strict] = [await counts("entered"), await counts("strict")];
  expect(
    stages.map((stage: Record<string, unknown>, index: number) => [
      stage.stageId,
      stage.count,
      stage.conversionFromPrevious,
      stage.conversionFromFirst,
      entered[index],
      strict[index],
      stage.currentCount,
      stage.lostFromHere,
      stage.dropOff,
      stage.amount,
    ]),
  ).toEqual([
    ["prospecting", 5, null, 100, 5, 5, 1, 0, null, "310000.00"],
    ["qualification", 4, 80, 80, 4, 4, 0, 1, 1, "290000.00"],
    ["proposal", 3, 75, 60, 2, 2, 1, 0, 1, "240000.00"],
    ["negotiation", 2, 66.67, 40, 2, 1, 1, 0, 1, "160000.00"],
    ["won", 1, 50, 20, 1, 1, 1, 0, 1, "100000.00"],
  ]);
});

test("the February report of the golden data set", async () => {
  const { stages, totals, groups } = await get(`/reports/funnel?${asOf}&from=2026-02-01&to=2026-02-28`);
  expect(
    stages.map((stage: Record<string, unknown>) => [
      stage.stageId,
      ...["entries", "advanced", "lost", "regressed", "movedPipeline", "still", "advanceRate", "avgDays"].map((name) => stage[name]),
    ]),
  ).toEqual([
    ["prospecting", 1, 0, 1, 0, 0, 0, 0, 3],
    ["qualification", 2, 2, 0, 0, 0, 0, 100, 10],
    ["proposal", 1, 0, 0, 0, 0, 1, null, null],
    ["negotiation", 2, 1, 0, 0, 0, 1, 100, 9],
  ]);
  expect(stages[1]).toMatchObject({ opportunities: 2, medianDays: 10, p90Days: 10 });
  // 1 created × 100000 won on average × 1/2 / 36 days
  expect(totals).toMatchObject({
    created: 1,
    won: 1,
    lost: 1,
    winRate: 50,
    winRateByAmount: 71.43,
    avgSalesCycleDays: 36,
    salesVelocity: "1388.89",
  });
  expect(groups).toBeNull();
});

test("the forecast of the golden data set", async () => {
  const { buckets, overdue, undated } = await get(`/opportunities/forecast?${asOf}&from=2026-02&to=2026-04`);
  const figures = ["period", "openCount", "openAmount", "weightedAmount", "bestCase", "commit", "closedWon", "forecast"];
  expect(buckets.map((bucket: Record<string, unknown>) => figures.map((name) => bucket[name]))).toEqual([
    ["2026-02", 0, "0.00", "0.00", "0.00", "0.00", "100000.00", "100000.00"],
    ["2026-03", 1, "80000.00", "40000.00", "80000.00", "0.00", "0.00", "40000.00"],
    ["2026-04", 1, "60000.00", "54000.00", "60000.00", "60000.00", "0.00", "54000.00"],
  ]);
  expect(overdue).toMatchObject({ count: 1, amount: "20000.00", weightedAmount: "2000.00" });
  expect(undated).toMatchObject({ count: 0, amount: "0.00", byCurrency: [] });
});

test("the forecast of the golden data set by quarter", async () => {
  const { buckets, overdue } = await get(`/opportunities/forecast?${asOf}&from=2026-01&to=2026-06&period=quarter`);
  const figures = ["period", "openCount", "openAmount", "weightedAmount", "bestCase", "commit", "closedWon", "forecast"];
  expect(buckets.map((bucket: Record<string, unknown>) => figures.map((name) => bucket[name]))).toEqual([
    ["2026-Q1", 1, "80000.00", "40000.00", "80000.00", "0.00", "100000.00", "140000.00"],
    ["2026-Q2", 1, "60000.00", "54000.00", "60000.00", "60000.00", "0.00", "54000.00"],
  ]);
  expect(overdue).toMatchObject({ count: 1, amount: "20000.00" });
});

test("the metrics' figures are drilled down to, and their funnel is the funnel's", async () => {
  const { opportunities, funnel } = await get(`/metrics?${asOf}`);
  for (const name of ["open", "won", "lost"]) {
    const { total } = await get(opportunities.links[name]);
    expect([name, total]).toEqual([name, opportunities[name]]);
  }
  expect(await get(`/pipeline/funnel?${asOf}`)).toMatchObject(funnel);
});

test("the metrics of the golden data set", async () => {
  const body = await get(`/metrics?${asOf}`);
  expect(body).toMatchObject({ opportunities: { open: 3, won: 1, lost: 2 }, winRate: 33.33, conversionRate: 16.67, funnel: { cohort: 6 } });
  expect((await get("/metrics")).customers).toBe(1);
});

test("/metrics is a tenant's with an assertion, the process's with its token alone, and else refused", async () => {
  expect((await admin.get("/metrics", { headers: { accept: "text/plain" } })).body.customers).toBe(1);
  const ask = (headers: Record<string, string>) => fetch(`${cell.url}/metrics`, { headers });
  const prometheus = await ask({ authorization: `Bearer ${testMetricsToken}` });
  expect([prometheus.status, prometheus.headers.get("content-type")]).toEqual([200, expect.stringContaining("text/plain")]);
  for (const headers of [{}, { accept: "text/plain" }, { authorization: "Bearer another" }, { authorization: testMetricsToken }])
    expect((await ask(headers as Record<string, string>)).status).toBe(401);
});

test("the published examples of reports equal the golden data set's responses", async () => {
  const { pipelineId } = await get(`/pipeline/summary?${asOf}`);
  const window = "from=2026-01-01&to=2026-02-28";
  const questions = [
    ["/metrics", asOf],
    ["/pipeline/summary", `${asOf}&${window}`],
    ["/pipeline/funnel", `${asOf}&from=2026-01-01&to=2026-01-31`],
    ["/reports/funnel", `${asOf}&from=2026-02-01&to=2026-02-28`],
    ["/opportunities/forecast", `${asOf}&from=2026-02&to=2026-04`],
  ] as const;
  const examples: Record<string, object> = {};
  for (const [path, query] of questions) examples[path] = { response: await get(`${path}?${query}`) };
  const csv = await admin.get(`/reports/funnel?${asOf}&from=2026-02-01&to=2026-02-28&format=csv`);
  examples["/reports/funnel"] = { ...examples["/reports/funnel"], file: csv.text };
  const published = JSON.stringify(examples, null, 2).replaceAll(pipelineId, publication.exampleValues.pipelineId as string);
  await expect(`${published}\n`).toMatchFileSnapshot("examples.json");
});
