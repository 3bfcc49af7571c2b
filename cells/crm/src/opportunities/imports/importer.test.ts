import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { beforeEach, describe, expect, test } from "vitest";
import { importCounts, importCsv, newCustomer } from "../../testing/requests.ts";
import { tenantPerTest } from "../../testing/tenants.ts";
import { auditOf, inspect } from "../../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerTest(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = await newCustomer(admin, "某某公司");
});

const golden = `客户名称,商机名称,金额,预计成交日期,概率,丢单原因,阶段历史
某某公司,O1,100000,2026-03-31,,,prospecting@2026-01-05;qualification@2026-01-10;proposal@2026-01-20;negotiation@2026-02-01;won@2026-02-10
某某公司,O2,50000,2026-03-15,,price,prospecting@2026-01-08;qualification@2026-01-18;lost@2026-01-28
某某公司,O3,80000,2026-03-31,,,prospecting@2026-01-15;proposal@2026-01-25;qualification@2026-02-05;proposal@2026-02-15
某某公司,O4,20000,2026-02-28,,,prospecting@2026-01-20
某某公司,O5,60000,2026-04-15,90,,prospecting@2026-01-31;qualification@2026-02-10;negotiation@2026-02-20
某某公司,O6,40000,2026-03-01,,,prospecting@2026-02-03;lost@2026-02-06
`;

const csv = (raw: string, query = "", client = admin): Promise<TestResponse> => importCsv(client, `/opportunities/import${query}`, raw);
const json = (body: object, client = admin): Promise<TestResponse> => client.post("/opportunities/import", { body });
const codes = ({ body }: TestResponse) =>
  body.errors.map((error: { row: number; field: string; code: string }) => [error.row, error.field, error.code]);
const named = async (query: string): Promise<string[]> => {
  const response = await admin.get(`/opportunities?sort=name&${query}`);
  expect(response.status, response.text).toBe(200);
  return response.body.data.map(({ name }: { name: string }) => name);
};
const one = async (name: string) => {
  const { opportunityId } = (await admin.get(`/opportunities?keyword=${name}`)).body.data[0];
  return (await admin.get(`/opportunities/${opportunityId}`)).body;
};

describe("the golden set", () => {
  beforeEach(async () => {
    const response = await csv(golden);
    expect(importCounts(response), response.text).toEqual([6, 6, 0, 0, 0]);
  });

  test("comes with its past: created, entered and closed then, with the stages' probabilities", async () => {
    expect(await one("O1")).toMatchObject({
      customerId,
      amount: "100000.00",
      currency: "CNY",
      stage: "won",
      status: "won",
      probability: 100,
      createdAt: "2026-01-05T00:00:00.000Z",
      stageEnteredAt: "2026-02-10T00:00:00.000Z",
      closedAt: "2026-02-10T00:00:00.000Z",
      version: 1,
    });
    const o3 = await one("O3");
    expect(o3).toMatchObject({ stage: "proposal", probability: 50, closedAt: null });
    const moves = (await admin.get(`/opportunities/${o3.opportunityId}/stage-history`)).body.data;
    expect(moves.map((row: Record<string, unknown>) => [row.fromStage, row.toStage, row.enteredAt, row.leftAt, row.probability])).toEqual([
      [null, "prospecting", "2026-01-15T00:00:00.000Z", "2026-01-25T00:00:00.000Z", 10],
      ["prospecting", "proposal", "2026-01-25T00:00:00.000Z", "2026-02-05T00:00:00.000Z", 50],
      ["proposal", "qualification", "2026-02-05T00:00:00.000Z", "2026-02-15T00:00:00.000Z", 20],
      ["qualification", "proposal", "2026-02-15T00:00:00.000Z", null, 50],
    ]);
    expect(await one("O5")).toMatchObject({ stage: "negotiation", probability: 90, probabilityOverridden: true });
    expect(await one("O6")).toMatchObject({ status: "lost", lostReason: null, probability: 0 });
  });

  test("is listed as it was at any moment, filters and order included", async () => {
    expect(await named("asOf=2026-01-04T23:59:59Z")).toEqual([]);
    expect(await named("asOf=2026-01-20T00:00:00Z")).toEqual(["O1", "O2", "O3", "O4"]);
    expect(await named("asOf=2026-01-20T00:00:00Z&stage=proposal")).toEqual(["O1"]);
    expect(await named("asOf=2026-01-20T00:00:00Z&filter=probability[lt]:20 and amount[gt]:20000")).toEqual(["O3"]);
    expect(await named("asOf=2026-02-01T00:00:00Z&status=lost")).toEqual(["O2"]);
    expect(await named("asOf=2026-03-01T00:00:00Z&status=open")).toEqual(["O3", "O4", "O5"]);
    expect(await named("asOf=2026-03-01T00:00:00Z&status=open&filter=expectedCloseDate[lt]:2026-03-01")).toEqual(["O4"]);
    expect(await named("asOf=2026-03-01T00:00:00Z&status=open&filter=stageEnteredAt[lt]:2026-02-15T00:00:00Z")).toEqual(["O4"]);
    expect(await named("asOf=2026-03-01T00:00:00Z&filter=closedAt[gte]:2026-02-01 and closedAt[lt]:2026-03-01")).toEqual(["O1", "O6"]);
    const { opportunityId } = await one("O1");
    await admin.patch(`/opportunities/${opportunityId}`, { body: { amount: "1", stage: "lost", lostReason: "x" } });
    expect(await named("asOf=2026-03-01T00:00:00Z&filter=amount[eq]:100000&status=won")).toEqual(["O1"]);
    await admin.delete(`/opportunities/${opportunityId}`);
    expect(await named("asOf=2026-03-01T00:00:00Z&status=won")).toEqual(["O1"]);
    expect(await named("status=won,lost")).toEqual(["O2", "O6"]);
  });

  test("is found by what its stage history holds: arrivals in a window, what followed them, all stages passed, the last one before the loss", async () => {
    const cohort = "filter=createdAt[gte]:2026-01-01 and createdAt[lt]:2026-02-01&asOf=2026-03-01T00:00:00Z";
    expect(await named(`${cohort}&enteredStage=qualification,proposal,negotiation,won`)).toEqual(["O1", "O2", "O3", "O5"]);
    expect(await named(`${cohort}&enteredStage=proposal`)).toEqual(["O1", "O3"]);
    expect(await named(`${cohort}&passedStages=prospecting,qualification,proposal,negotiation`)).toEqual(["O1"]);
    expect(await named("asOf=2026-03-01T00:00:00Z&status=lost&filter=lastStage[eq]:qualification")).toEqual(["O2"]);
    expect(await named("status=lost&filter=lastStage[eq]:prospecting")).toEqual(["O6"]);
    const february = "enteredFrom=2026-02-01T00:00:00Z&enteredTo=2026-03-01T00:00:00Z&asOf=2026-03-01T00:00:00Z";
    expect(await named(`${february}&enteredStage=prospecting&leftTo=lost`)).toEqual(["O6"]);
    expect(await named(`${february}&enteredStage=qualification&leftTo=proposal,negotiation,won`)).toEqual(["O3", "O5"]);
    expect(await named(`${february}&enteredStage=proposal&leftTo=STILL`)).toEqual(["O3"]);
    expect(await named(`${february}&enteredStage=negotiation&leftTo=STILL`)).toEqual(["O5"]);
    expect(await named(`${february}&enteredStage=negotiation&leftTo=PIPELINE`)).toEqual([]);
    expect(await named("asOf=2026-02-09T00:00:00Z&enteredStage=negotiation&leftTo=STILL")).toEqual(["O1"]);
    const { pipelineId } = await one("O1");
    expect(await named(`enteredStage=won&enteredPipelineId=${pipelineId}`)).toEqual(["O1"]);
    const stages = [
      { stage: "first", type: "open", probability: 10 },
      { stage: "won", type: "won" },
      { stage: "lost", type: "lost" },
    ];
    const other = (await admin.post("/pipelines", { body: { name: "Other", stages } })).body.pipelineId;
    expect(await named(`enteredStage=won&enteredPipelineId=${other}`)).toEqual([]);
  });

  test("imported again out of its own export changes nothing, in any mode", async () => {
    const exported = await admin.get("/opportunities/export?format=csv");
    expect(exported.status).toBe(200);
    const page = await admin.get("/opportunities/export");
    const history = await inspect(tenantId, "select * from $tenant.opportunity_history");
    for (const mode of ["create", "upsert", "update"]) {
      const response = await csv(exported.text, `?mode=${mode}`);
      expect(importCounts(response), response.text).toEqual([6, 0, 0, 6, 0]);
      expect(importCounts(await json({ mode, items: page.body.data }))).toEqual([6, 0, 0, 6, 0]);
    }
    expect(await inspect(tenantId, "select * from $tenant.opportunity_history")).toEqual(history);
  });

  test("is exported to who works on its own records as far as it sees, under its name in the trail", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const own = (await sales.post("/customers", { body: { name: "Own" } })).body.customerId;
    await sales.post("/opportunities", { body: { customerId: own, name: "Mine" } });
    const lines = (await sales.get("/opportunities/export?format=csv&status=open")).text.trim().split("\r\n");
    expect([lines.length, lines[1]]).toEqual([2, expect.stringContaining(",Mine,")]);
    const { data } = (await admin.get("/audit-logs?action=export&resourceType=opportunity")).body;
    expect(data).toMatchObject([{ actorId: "sales-1" }]);
    const recorded = [
      { field: "status", before: null, after: ["open"] },
      { field: "fields", before: null, after: expect.arrayContaining(["opportunityId", "customerId", "name"]) },
      { field: "rows", before: null, after: 1 },
    ];
    expect(data[0].changes).toEqual(expect.arrayContaining(recorded));
  });

  test("is exported with the list's filters, its own ones too, and its masking", async () => {
    const response = await admin.get("/opportunities/export?format=csv&asOf=2026-02-01T00:00:00Z&status=lost");
    const lines = response.text.trim().split("\r\n");
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain(",O2,****,CNY,");
    expect((await admin.get(`/opportunities/export?customerId=${customerId}`)).body.total).toBe(6);
  });
});

describe("a row", () => {
  const history = (stageHistory: unknown, fields: object = {}) => ({ customerId, name: "Row", stageHistory, ...fields });

  test("whose past does not fit together is an error of the row; the good ones stay", async () => {
    const response = await json({
      items: [
        history([
          { stage: "prospecting", enteredAt: "2026-01-05" },
          { stage: "won", enteredAt: "2026-01-04" },
        ]),
        history(["prospecting@2026-01-05", "won@2026-02-10"], { stage: "proposal" }),
        history(["prospecting@2026-01-05", "dreaming@2026-02-10"]),
        history(["prospecting@2026-01-05", "prospecting@2026-02-10"]),
        history(["prospecting@9000-01-05"]),
        history(["prospecting"]),
        history(["prospecting@2026-02-30"]),
        history(["prospecting@2026-01-05"], { closedAt: "2026-01-06" }),
        history(["prospecting@2026-01-05"], { createdAt: "2026-01-06" }),
        history(["prospecting@2026-01-05", "won@2026-02-10"], { createdAt: "2026-01-05T09:00:00Z", closedAt: "2026-02-10T18:00:00+08:00" }),
      ],
    });
    expect(importCounts(response)).toEqual([10, 1, 0, 0, 9]);
    expect(codes(response)).toEqual([
      [1, "stageHistory", "INVALID_FORMAT"],
      [2, "stageHistory", "INVALID_FORMAT"],
      [3, "stageHistory", "INVALID_ENUM"],
      [4, "stageHistory", "INVALID_FORMAT"],
      [5, "stageHistory", "INVALID_FORMAT"],
      [6, "stageHistory", "INVALID_FORMAT"],
      [7, "stageHistory", "INVALID_FORMAT"],
      [8, "closedAt", "INVALID_FORMAT"],
      [9, "createdAt", "INVALID_FORMAT"],
    ]);
    expect(await one("Row")).toMatchObject({ createdAt: "2026-01-05T09:00:00.000Z", closedAt: "2026-02-10T10:00:00.000Z" });
  });

  test("may say stage, createdAt and closedAt alone; days are the tenant's", async () => {
    await admin.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
    const response = await json({
      items: [
        { customerId, name: "Open", stage: "proposal", createdAt: "2026-01-05" },
        { customerId, name: "Closed", stage: "won", createdAt: "2026-01-05", closedAt: "2026-02-10" },
        { customerId, name: "Fresh" },
      ],
    });
    expect(importCounts(response), response.text).toEqual([3, 3, 0, 0, 0]);
    expect(await one("Open")).toMatchObject({ stage: "proposal", createdAt: "2026-01-04T16:00:00.000Z", probability: 50 });
    expect(await one("Closed")).toMatchObject({ createdAt: "2026-01-04T16:00:00.000Z", closedAt: "2026-02-09T16:00:00.000Z" });
    expect(await named("asOf=2026-01-10T00:00:00Z&status=open")).toEqual(["Closed", "Open"]);
    expect(await one("Fresh")).toMatchObject({ stage: "prospecting" });
  });

  test("that is wrong tells all of it", async () => {
    const response = await json({
      items: [
        { name: " ", amount: "-1", probability: 101, currency: "XYQ", expectedCloseDate: "2026-02-30", colour: "red" },
        { customerName: "Nobody", name: "A" },
        { customerId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10", name: "B" },
        { customerId, name: "C", pipelineId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10" },
        { customerId, name: "D", amount: "****" },
        { customerId, name: "E", stage: "dreaming" },
      ],
    });
    expect(codes(response).sort()).toEqual(
      [
        [1, "amount", "INVALID_FORMAT"],
        [1, "colour", "UNKNOWN_COLUMN"],
        [1, "currency", "INVALID_ENUM"],
        [1, "customerId", "REQUIRED"],
        [1, "expectedCloseDate", "INVALID_FORMAT"],
        [1, "name", "REQUIRED"],
        [1, "probability", "INVALID_FORMAT"],
        [2, "customerName", "NOT_FOUND"],
        [3, "customerId", "NOT_FOUND"],
        [4, "pipelineId", "NOT_FOUND"],
        [5, "amount", "MASKED_VALUE"],
        [6, "stage", "INVALID_ENUM"],
      ].sort(),
    );
  });

  test("with an id updates by the rules of every change: history, audit, version", async () => {
    await json({ items: [{ customerId, name: "Known", amount: "5" }] });
    const { opportunityId } = await one("Known");
    const response = await json({
      mode: "upsert",
      items: [
        { opportunityId, stage: "proposal", amount: "****" },
        { opportunityId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10", name: "New", customerName: " 某某公司 " },
      ],
    });
    expect(importCounts(response), response.text).toEqual([2, 1, 1, 0, 0]);
    expect(await one("Known")).toMatchObject({ stage: "proposal", probability: 50, amount: "5.00", version: 2 });
    expect((await auditOf(tenantId, opportunityId)).map((entry) => entry.action)).toEqual(["create", "update"]);
    expect((await admin.get(`/opportunities/${opportunityId}/stage-history`)).body.total).toBe(2);
    const again = await json({ items: [{ opportunityId, name: "Known", stage: "won", customerId }] });
    expect(codes(again)).toEqual([[1, "opportunityId", "DUPLICATE_NAME"]]);
    const history = await json({ mode: "update", items: [{ opportunityId, stageHistory: ["won@2026-01-01"] }] });
    expect(codes(history)).toEqual([[1, "stageHistory", "INVALID_FORMAT"]]);
    const unknown = await json({ mode: "update", items: [{ opportunityId: customerId, name: "x" }, { name: "y" }] });
    expect(codes(unknown)).toEqual([
      [1, "opportunityId", "NOT_FOUND"],
      [2, "opportunityId", "REQUIRED"],
    ]);
  });

  test("of who works on its own records is its own, at customers that it sees", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const own = (await sales.post("/customers", { body: { name: "Own" } })).body.customerId;
    const response = await json(
      {
        items: [
          { customerId, name: "A" },
          { customerId: own, name: "B", ownerId: "user-001" },
          { customerId: own, name: "C" },
        ],
      },
      sales,
    );
    expect(codes(response)).toEqual([
      [1, "customerId", "NOT_FOUND"],
      [2, "ownerId", "INVALID_FORMAT"],
    ]);
    expect(await one("C")).toMatchObject({ ownerId: "sales-1" });
  });
});

test("a dry run reports the same and writes nothing; a revert takes back what nobody has touched since", async () => {
  const dry = await csv(golden, "?dryRun=true");
  expect(importCounts(dry)).toEqual([6, 6, 0, 0, 0]);
  expect(await named("")).toEqual([]);
  const { importId } = (await csv(golden)).body;
  const [first, second] = [await one("O3"), await one("O4")];
  await admin.patch(`/opportunities/${first.opportunityId}`, { body: { amount: "1" } });
  const update = await json({ mode: "update", items: [{ opportunityId: second.opportunityId, stage: "won", name: "O4 won" }] });
  const undone = await admin.post(`/imports/${update.body.importId}/revert`);
  expect(undone.body).toMatchObject({ reverted: 1, skipped: [] });
  expect(await one("O4")).toMatchObject({ name: "O4", stage: "prospecting", status: "open", closedAt: null, version: 3 });
  const reverted = await admin.post(`/imports/${importId}/revert`);
  expect(reverted.body).toMatchObject({
    reverted: 4,
    skipped: expect.arrayContaining([
      { opportunityId: first.opportunityId, reason: "CHANGED_SINCE" },
      { opportunityId: second.opportunityId, reason: "CHANGED_SINCE" },
    ]),
  });
  expect(await named("")).toEqual(["O3", "O4"]);
  const gaps = await inspect(tenantId, "select opportunity_id from $tenant.opportunity_history group by 1 having count(*) <> max(seq)");
  expect(gaps).toEqual([]);
});
