import { randomUUID } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf, inspect } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = await newCustomer("Of opportunities");
});

const newCustomer = async (name: string, client = admin): Promise<string> => {
  const response = await client.post("/customers", { body: { name } });
  expect(response.status, response.text).toBe(201);
  return response.body.customerId;
};

const create = async (fields: object = {}, client = admin) => {
  const response = await client.post("/opportunities", { body: { customerId, name: "年度采购", ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};
const read = async (id: string) => (await admin.get(`/opportunities/${id}`)).body;
const patch = async (id: string, body: object) => {
  const response = await admin.patch(`/opportunities/${id}`, { body });
  expect(response.status, response.text).toBe(200);
  return response.body;
};
const historyOf = async (id: string) => (await admin.get(`/opportunities/${id}/stage-history`)).body.data;
const allHistory = (id: string) =>
  inspect<{
    seq: number;
    moved: boolean;
    stage: string;
    amount: string;
    at: Date;
    deleted: boolean;
    customer_id: string;
    owner_id: string;
  }>(tenantId, "select * from $tenant.opportunity_history where opportunity_id = $1 order by seq", [id]);

describe("creating an opportunity", () => {
  test("only the customer and the name are needed: the default pipeline's first stage, its probability, no amount, the tenant's currency, the caller as owner", async () => {
    const { opportunityId } = await create();
    const pipeline = (await admin.get("/pipelines?filter=isDefault[eq]:true")).body.data[0];
    expect(await read(opportunityId)).toMatchObject({
      tenantId,
      customerId,
      amount: "0.00",
      currency: "CNY",
      pipelineId: pipeline.pipelineId,
      stage: "prospecting",
      status: "open",
      probability: 10,
      probabilityOverridden: false,
      expectedCloseDate: null,
      ownerId: "user-001",
      lostReason: null,
      closedAt: null,
      version: 1,
    });
  });

  test("an opportunity's currency defaults to the tenant's setting", async () => {
    const other = await cell.tenant();
    const client = cell.client(other);
    await client.patch("/settings", { body: { currency: "JPY" } });
    const id = await newCustomer("In Japan", client);
    const made = await create({ customerId: id, amount: 1000.5 }, client);
    expect((await client.get(`/opportunities/${made.opportunityId}`)).body).toMatchObject({ currency: "JPY", amount: "1001" });
  });

  test("a repeated creation gets the same bytes and leaves one row, one audit entry and one history row", async () => {
    const body = { customerId, name: "Replayed", amount: "120000.00" };
    const first = await admin.post("/opportunities", { body, key: "opportunity-1" });
    const again = await admin.post("/opportunities", { body, key: "opportunity-1" });
    expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
    expect(await auditOf(tenantId, first.body.opportunityId)).toHaveLength(1);
    expect(await allHistory(first.body.opportunityId)).toHaveLength(1);
    expect((await admin.get("/opportunities?keyword=replayed")).body.total).toBe(1);
    const other = await admin.post("/opportunities", { body: { ...body, amount: "1" }, key: "opportunity-1" });
    expect([other.status, other.body.code]).toEqual([409, "IDEMPOTENT_CONFLICT"]);
  });

  test("a customer or a pipeline that nobody has is a 404 that names the field", async () => {
    const noCustomer = await admin.post("/opportunities", { body: { customerId: randomUUID(), name: "x" } });
    expect([noCustomer.status, noCustomer.body.code, noCustomer.body.details]).toEqual([404, "NOT_FOUND", { field: "customerId" }]);
    const noPipeline = await admin.post("/opportunities", { body: { customerId, name: "x", pipelineId: randomUUID() } });
    expect([noPipeline.status, noPipeline.body.details]).toEqual([404, { field: "pipelineId" }]);
  });

  test("an unknown stage is rejected with the known ones", async () => {
    const response = await admin.post("/opportunities", { body: { customerId, name: "x", stage: "dreaming" } });
    expect([response.status, response.body.details.fields[0]]).toMatchObject([400, { path: "stage", code: "INVALID_ENUM" }]);
    expect(response.body.details.fields[0].message).toContain("prospecting, qualification, proposal, negotiation, won, lost");
  });

  test.each([
    ["a negative amount", { amount: "-1" }],
    ["an amount that is no number", { amount: "much" }],
    ["a masked amount", { amount: "****" }],
    ["a currency that does not exist", { currency: "XYQ" }],
    ["a probability over 100", { probability: 101 }],
    ["a probability with three decimals", { probability: 1.234 }],
    ["a day that does not exist", { expectedCloseDate: "2026-02-30" }],
    ["a status, which the stage decides", { status: "won" }],
    ["a loss without a reason", { stage: "lost" }],
    ["no name", { name: " " }],
  ])("%s is a BAD_REQUEST", async (_, fields) => {
    const response = await admin.post("/opportunities", { body: { customerId, name: "bad", ...fields } });
    expect([response.status, response.body.code]).toEqual([400, "BAD_REQUEST"]);
  });
});

describe("amounts", () => {
  test("amounts are stored exactly and rounded half-up only in responses", async () => {
    const { opportunityId } = await create({ amount: "0.125" });
    expect((await read(opportunityId)).amount).toBe("0.13");
    expect(
      (
        await inspect<{ amount: string }>(tenantId, "select amount::text from $tenant.opportunities where opportunity_id = $1", [
          opportunityId,
        ])
      )[0]?.amount,
    ).toBe("0.1250");
  });

  test("are masked in write answers and lists for everybody, in the detail for who lacks amount:read; sent back masked they stay", async () => {
    const made = await create({ amount: "5000" });
    expect([made.amount, made._masked]).toEqual(["****", ["amount"]]);
    const listed = (await admin.get(`/opportunities?filter=opportunityId[eq]:${made.opportunityId}`)).body.data[0];
    expect([listed.amount, listed._masked]).toEqual(["****", ["amount"]]);
    expect((await historyOf(made.opportunityId))[0]).toMatchObject({ amount: "****", _masked: ["amount"] });
    const blind = cell.client(tenantId, { permissions: ["crm:read", "crm:write"] });
    expect((await blind.get(`/opportunities/${made.opportunityId}`)).body.amount).toBe("****");
    await blind.patch(`/opportunities/${made.opportunityId}`, { body: { amount: "****", name: "Renamed" } });
    expect(await read(made.opportunityId)).toMatchObject({ name: "Renamed", amount: "5000.00" });
  });

  test("can be neither sorted by nor compared by who may not read them", async () => {
    const blind = cell.client(tenantId, { permissions: ["crm:read"] });
    for (const query of ["sort=amount", "filter=amount[gt]:1", "filter=amount[eq]:5000"]) {
      const response = await blind.get(`/opportunities?${query}`);
      expect([response.status, response.body.code]).toEqual([403, "FIELD_MASKED"]);
    }
    expect((await admin.get("/opportunities?sort=-amount&filter=amount[gte]:4999.99")).body.total).toBeGreaterThan(0);
  });
});

describe("the probability", () => {
  test("is the stage's; one given wins and is marked; the next move resets it unless it gives one too; null takes it back", async () => {
    const { opportunityId } = await create({ probability: 33.33 });
    expect(await read(opportunityId)).toMatchObject({ probability: 33.33, probabilityOverridden: true });
    expect(await patch(opportunityId, { stage: "proposal" })).toMatchObject({ probability: 50, probabilityOverridden: false });
    expect(await patch(opportunityId, { stage: "negotiation", probability: 90 })).toMatchObject({
      probability: 90,
      probabilityOverridden: true,
    });
    expect(await patch(opportunityId, { amount: "7" })).toMatchObject({ probability: 90, probabilityOverridden: true });
    expect(await patch(opportunityId, { probability: null })).toMatchObject({ probability: 80, probabilityOverridden: false });
  });

  test("is 100 when won and 0 when lost, whatever anyone says", async () => {
    const { opportunityId } = await create();
    expect(await patch(opportunityId, { stage: "won", probability: 40 })).toMatchObject({ probability: 100, probabilityOverridden: false });
    expect(await patch(opportunityId, { probability: 40 })).toMatchObject({ probability: 100 });
    expect(await patch(opportunityId, { stage: "lost", lostReason: "price" })).toMatchObject({
      probability: 0,
      probabilityOverridden: false,
    });
  });
});

describe("closing", () => {
  test("status and closedAt follow the stage: set on entering won or lost, anew from won to lost, cleared on leaving, touched by no other edit", async () => {
    const { opportunityId } = await create();
    const won = await patch(opportunityId, { stage: "won" });
    expect(won).toMatchObject({ status: "won", closedAt: won.updatedAt });
    expect((await patch(opportunityId, { name: "Edited later", amount: "9" })).closedAt).toBe(won.closedAt);
    const lost = await patch(opportunityId, { stage: "lost", lostReason: "changed their mind" });
    expect(lost.status).toBe("lost");
    expect(lost.closedAt > won.closedAt).toBe(true);
    expect(await patch(opportunityId, { stage: "proposal" })).toMatchObject({ status: "open", closedAt: null, lostReason: null });
    expect(await create({ stage: "won" })).toMatchObject({ status: "won", closedAt: expect.any(String) });
  });

  test("entering a lost stage needs a reason, which leaving clears", async () => {
    const { opportunityId } = await create();
    const refused = await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "lost" } });
    expect([refused.status, refused.body.details.fields[0]]).toMatchObject([400, { path: "lostReason", code: "REQUIRED" }]);
    expect(await patch(opportunityId, { stage: "lost", lostReason: "price" })).toMatchObject({ lostReason: "price" });
    const emptied = await admin.patch(`/opportunities/${opportunityId}`, { body: { lostReason: null } });
    expect(emptied.body.details.fields[0].code).toBe("REQUIRED");
    expect((await patch(opportunityId, { stage: "won" })).lostReason).toBeNull();
  });
});

describe("changing", () => {
  test("changing an opportunity's owner changes nothing else", async () => {
    const { opportunityId } = await create({ probability: 15, amount: "3" });
    const before = await read(opportunityId);
    await patch(opportunityId, { ownerId: "user-009" });
    const { updatedAt: _, ...after } = await read(opportunityId);
    expect(after).toEqual({
      ...Object.fromEntries(Object.entries(before).filter(([name]) => name !== "updatedAt")),
      ownerId: "user-009",
      version: 2,
    });
    expect(await historyOf(opportunityId)).toHaveLength(1);
  });

  test("a stale If-Match is a VERSION_CONFLICT that names the fields in conflict; ETag and If-None-Match give 304", async () => {
    const { opportunityId } = await create();
    await patch(opportunityId, { stage: "proposal" });
    const stale = await admin.patch(`/opportunities/${opportunityId}`, {
      body: { stage: "won", name: "x" },
      headers: { "if-match": '"1"' },
    });
    expect([stale.status, stale.body.code, stale.body.details]).toEqual([
      412,
      "VERSION_CONFLICT",
      { currentVersion: 2, conflictingFields: ["stage"] },
    ]);
    const unchanged = await admin.get(`/opportunities/${opportunityId}`, { headers: { "if-none-match": '"2"' } });
    expect(unchanged.status).toBe(304);
    expect((await admin.delete(`/opportunities/${opportunityId}`, { headers: { "if-match": '"1"' } })).status).toBe(412);
  });

  test("a change that changes nothing writes nothing; a move that is replayed moves once", async () => {
    const { opportunityId } = await create();
    expect(await patch(opportunityId, { stage: "prospecting", amount: "0.0" })).toMatchObject({ version: 1 });
    const first = await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "proposal" }, key: "move-once" });
    await patch(opportunityId, { stage: "prospecting" });
    const again = await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "proposal" }, key: "move-once" });
    expect(again.text).toBe(first.text);
    expect(await read(opportunityId)).toMatchObject({ stage: "prospecting", version: 3 });
    expect(await auditOf(tenantId, opportunityId)).toHaveLength(3);
  });

  test("a deleted one is gone, its history stays and says when", async () => {
    const { opportunityId } = await create();
    expect((await admin.delete(`/opportunities/${opportunityId}`)).body).toEqual({ opportunityId, deleted: true });
    expect((await admin.get(`/opportunities/${opportunityId}`)).status).toBe(404);
    expect((await admin.get(`/opportunities/${opportunityId}/stage-history`)).status).toBe(404);
    expect((await admin.delete(`/opportunities/${opportunityId}`)).status).toBe(404);
    expect((await auditOf(tenantId, opportunityId)).map((entry) => entry.action)).toEqual(["create", "delete"]);
    expect((await allHistory(opportunityId)).map((row) => [row.seq, row.moved, row.deleted])).toEqual([
      [1, true, false],
      [2, false, true],
    ]);
  });

  test("another pipeline begins at its first stage, or at the one that is given", async () => {
    const stages = ["first", "second"].map((stage, index) => ({ stage, type: "open", probability: 30 + index }));
    const made = await admin.post("/pipelines", {
      body: { name: "Other", stages: [...stages, { stage: "won", type: "won" }, { stage: "lost", type: "lost" }] },
    });
    const { pipelineId } = made.body;
    const { opportunityId } = await create();
    expect(await patch(opportunityId, { pipelineId })).toMatchObject({ pipelineId, stage: "first", probability: 30 });
    const other = await create();
    const unknown = await admin.patch(`/opportunities/${other.opportunityId}`, { body: { pipelineId, stage: "proposal" } });
    expect(unknown.body.details.fields[0]).toMatchObject({ path: "stage", code: "INVALID_ENUM" });
    expect(await patch(other.opportunityId, { pipelineId, stage: "second" })).toMatchObject({ stage: "second", probability: 31 });
    expect((await admin.get(`/opportunities?pipelineId=${pipelineId}`)).body.total).toBe(2);
  });
});

describe("stage history", () => {
  test("creation is row 1 from null; each move is one row, left when the next begins, with what it was worth then", async () => {
    const { opportunityId } = await create({ amount: "100", expectedCloseDate: "2026-03-31" });
    await patch(opportunityId, { amount: "200" });
    const moved = await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "proposal" }, key: "move-key" });
    await patch(opportunityId, { name: "No move" });
    const won = await patch(opportunityId, { stage: "won" });
    const rows = await historyOf(opportunityId);
    expect(rows.map((row: Record<string, unknown>) => [row.fromStage, row.toStage, row.probability])).toEqual([
      [null, "prospecting", 10],
      ["prospecting", "proposal", 50],
      ["proposal", "won", 100],
    ]);
    expect(rows.map((row: { leftAt: string }) => row.leftAt)).toEqual([moved.body.updatedAt, won.updatedAt, null]);
    expect(rows[1]).toMatchObject({
      enteredAt: moved.body.updatedAt,
      currency: "CNY",
      expectedCloseDate: "2026-03-31",
      actorId: "user-001",
      requestId: "move-key",
    });
    expect((await allHistory(opportunityId)).map((row) => [row.seq, row.moved, row.amount])).toEqual([
      [1, true, "100.0000"],
      [2, false, "200.0000"],
      [3, true, "200.0000"],
      [4, true, "200.0000"],
    ]);
  });

  test("the stage history is paged like every list", async () => {
    const { opportunityId } = await create();
    for (const stage of ["proposal", "negotiation", "proposal"]) await patch(opportunityId, { stage });
    const first = (await admin.get(`/opportunities/${opportunityId}/stage-history?pageSize=3`)).body;
    expect([first.total, first.data.length, first.data[2].leftAt === null]).toEqual([4, 3, false]);
    const second = (await admin.get(`/opportunities/${opportunityId}/stage-history?pageSize=3&cursor=${first.nextCursor}`)).body;
    expect(second.data.map((row: { toStage: string }) => row.toStage)).toEqual(["proposal"]);
  });

  test("the stage history cannot be changed or deleted by the cell's own login", async () => {
    const [rights] = await inspect<{ rights: string[] }>(
      tenantId,
      "select array_agg(privilege_type::text order by 1) as rights from information_schema.role_table_grants where table_schema = replace('$tenant', '\"', '') and table_name = 'opportunity_history' and grantee = table_schema",
    );
    expect(rights?.rights).toEqual(["INSERT", "SELECT"]);
  });

  test("ten concurrent moves keep the stage history's numbers gapless and its times in order", async () => {
    const { opportunityId } = await create();
    const stages = ["qualification", "proposal", "negotiation", "prospecting", "won"];
    const responses = await Promise.all(
      Array.from({ length: 10 }, (_, index) => admin.patch(`/opportunities/${opportunityId}`, { body: { stage: stages[index % 5] } })),
    );
    expect(responses.map((response) => response.status)).toEqual(Array(10).fill(200));
    const rows = await allHistory(opportunityId);
    expect(rows.map((row) => row.seq)).toEqual(rows.map((_, index) => index + 1));
    expect(rows.every((row, index) => index === 0 || row.at >= (rows[index - 1]?.at ?? row.at))).toBe(true);
    const entries = await auditOf(tenantId, opportunityId);
    expect(entries).toHaveLength(rows.length);
  });
});

describe("who works on its own records", () => {
  test("sees, changes and lists the opportunities that it owns, at customers that it sees", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const { opportunityId } = await create();
    for (const response of [
      await sales.get(`/opportunities/${opportunityId}`),
      await sales.get(`/opportunities/${opportunityId}/stage-history`),
      await sales.patch(`/opportunities/${opportunityId}`, { body: { name: "mine" } }),
      await sales.delete(`/opportunities/${opportunityId}`),
      await sales.post("/opportunities", { body: { customerId, name: "At a hidden customer" } }),
    ])
      expect([response.status, response.body.code]).toEqual([404, "NOT_FOUND"]);
    const own = await newCustomer("Own", sales);
    const made = await create({ customerId: own, name: "Own one" }, sales);
    expect((await sales.get("/opportunities")).body.data.map((row: { name: string }) => row.name)).toEqual(["Own one"]);
    const given = await sales.patch(`/opportunities/${made.opportunityId}`, { body: { ownerId: "user-001" } });
    expect([given.status, given.body.code]).toEqual([403, "FORBIDDEN"]);
    expect((await sales.get("/pipelines")).body.total).toBeGreaterThan(0);
  });

  test("sees by asOf the past of what it owns at present", async () => {
    const sales = cell.client(tenantId, { userId: "sales-2", scope: "own" });
    const heir = cell.client(tenantId, { userId: "sales-3", scope: "own" });
    const made = await create({ customerId: await newCustomer("Given", sales), name: "Given away" }, sales);
    const given = await patch(made.opportunityId, { ownerId: "sales-3" });
    const seen = async (client: TestClient, query: string) => (await client.get(`/opportunities?${query}`)).body.total;
    expect([await seen(sales, `asOf=${made.createdAt}`), await seen(heir, `asOf=${made.createdAt}`)]).toEqual([0, 1]);
    expect([await seen(sales, `asOf=${given.updatedAt}`), await seen(heir, `asOf=${given.updatedAt}`)]).toEqual([0, 1]);
    expect([await seen(sales, ""), await seen(heir, "")]).toEqual([0, 1]);
  });
});
