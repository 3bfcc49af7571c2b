import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { newCustomer } from "../testing/requests.ts";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = await newCustomer(admin, "Of pipelines");
});

const won = { stage: "won", name: "Won", type: "won", probability: 100 };
const lost = { stage: "lost", name: "Lost", type: "lost", probability: 0 };
const open = (stage: string, probability = 25) => ({ stage, name: stage, type: "open", probability });

const create = async (fields: object = {}) => {
  const response = await admin.post("/pipelines", {
    body: { name: "Partners", stages: [open("one"), open("two", 60.5), won, lost], ...fields },
  });
  expect(response.status, response.text).toBe(201);
  return response.body;
};
const enter = async (pipelineId: string, stage: string, fields: object = {}) => {
  const response = await admin.post("/opportunities", { body: { customerId, name: "On a stage", pipelineId, stage, ...fields } });
  expect(response.status, response.text).toBe(201);
  return response.body;
};

test("a tenant begins with one pipeline, the default, of six stages", async () => {
  const other = await cell.tenant();
  const { data, total } = (await cell.client(other).get("/pipelines")).body;
  expect([total, data[0].isDefault]).toEqual([1, true]);
  expect(data[0].stages.map((stage: Record<string, unknown>) => [stage.stage, stage.type, stage.probability])).toEqual([
    ["prospecting", "open", 10],
    ["qualification", "open", 20],
    ["proposal", "open", 50],
    ["negotiation", "open", 80],
    ["won", "won", 100],
    ["lost", "lost", 0],
  ]);
});

test("a pipeline is created, replayed, read and changed, its stages in the order given, with an entry for each", async () => {
  const body = {
    name: "Replayed",
    stages: [open("b"), open("a"), { stage: "done", type: "won" }, { stage: "gone", type: "lost", probability: 40 }],
  };
  const first = await admin.post("/pipelines", { body, key: "pipeline-1" });
  expect((await admin.post("/pipelines", { body, key: "pipeline-1" })).text).toBe(first.text);
  const { pipelineId } = first.body;
  const got = await admin.get(`/pipelines/${pipelineId}`);
  expect(got.text).toBe(first.text);
  expect(got.body.stages).toEqual([
    open("b"),
    open("a"),
    { stage: "done", name: "done", type: "won", probability: 100 },
    { stage: "gone", name: "gone", type: "lost", probability: 0 },
  ]);
  expect((await admin.get(`/pipelines/${pipelineId}`, { headers: { "if-none-match": '"1"' } })).status).toBe(304);
  const stages = [open("a", 33.3), open("c"), ...got.body.stages.slice(2)];
  const changed = await admin.patch(`/pipelines/${pipelineId}`, { body: { stages }, headers: { "if-match": '"1"' } });
  expect(changed.body).toMatchObject({ stages, version: 2, name: "Replayed" });
  expect((await admin.get(`/pipelines/${pipelineId}`)).body.stages).toEqual(stages);
  const stale = await admin.patch(`/pipelines/${pipelineId}`, { body: { stages: body.stages }, headers: { "if-match": '"1"' } });
  expect([stale.status, stale.body.details]).toEqual([412, { currentVersion: 2, conflictingFields: ["stages"] }]);
  expect((await admin.patch(`/pipelines/${pipelineId}`, { body: { stages } })).body.version).toBe(2);
  expect((await auditOf(tenantId, pipelineId)).map((entry) => entry.action)).toEqual(["create", "update"]);
});

test.each([
  ["no won stage", [open("one"), open("two"), lost]],
  ["two won stages", [open("one"), won, { ...won, stage: "won2" }, lost]],
  ["no lost stage", [open("one"), open("two"), won]],
  ["no open stage", [won, lost]],
  ["a stage twice", [open("one"), open("one"), won, lost]],
  ["a stage that is no slug", [open("Not a slug"), won, lost]],
  ["an open stage without a probability", [{ stage: "one", type: "open" }, won, lost]],
  ["a type that does not exist", [{ ...open("one"), type: "maybe" }, won, lost]],
  ["a probability over 100", [open("one", 100.01), won, lost]],
])("%s is a BAD_REQUEST", async (_, stages) => {
  const response = await admin.post("/pipelines", { body: { name: "Bad", stages } });
  expect([response.status, response.body.code], response.text).toEqual([400, "BAD_REQUEST"]);
});

test("only tenant:admin changes pipelines; crm:read reads them, whatever the scope", async () => {
  const { pipelineId } = await create();
  const manager = cell.client(tenantId, { permissions: ["crm:read", "crm:write"] });
  const refused = await manager.patch(`/pipelines/${pipelineId}`, { body: { name: "Mine" } });
  expect([refused.status, refused.body.code]).toEqual([403, "FORBIDDEN"]);
  const sales = cell.client(tenantId, { permissions: ["crm:read"], scope: "own" });
  expect((await sales.get(`/pipelines/${pipelineId}`)).status).toBe(200);
});

test("making a pipeline the default makes the previous one non-default, with an audit entry; there is always one", async () => {
  const before = (await admin.get("/pipelines?filter=isDefault[eq]:true")).body.data[0];
  const { pipelineId, stages } = await create({ isDefault: true });
  expect((await admin.get(`/pipelines/${before.pipelineId}`)).body).toMatchObject({ isDefault: false, version: before.version + 1 });
  expect((await auditOf(tenantId, before.pipelineId)).at(-1)?.changes).toEqual([{ field: "isDefault", before: true, after: false }]);
  expect((await admin.post("/opportunities", { body: { customerId, name: "By default" } })).body).toMatchObject({
    pipelineId,
    stage: stages[0].stage,
  });
  const ended = await admin.patch(`/pipelines/${pipelineId}`, { body: { isDefault: false } });
  expect([ended.status, ended.body.code]).toEqual([409, "CONFLICT"]);
  await admin.patch(`/pipelines/${before.pipelineId}`, { body: { isDefault: true } });
  expect((await admin.get("/pipelines?filter=isDefault[eq]:true")).body.data.map((row: { pipelineId: string }) => row.pipelineId)).toEqual([
    before.pipelineId,
  ]);
});

test("four pipelines made the default concurrently leave one default", async () => {
  const made = await Promise.all(Array.from({ length: 4 }, () => create()));
  const responses = await Promise.all(made.map(({ pipelineId }) => admin.patch(`/pipelines/${pipelineId}`, { body: { isDefault: true } })));
  expect(responses.every(({ status }) => status === 200 || status === 409)).toBe(true);
  expect((await admin.get("/pipelines?filter=isDefault[eq]:true")).body.total).toBe(1);
});

describe("a stage with opportunities on it", () => {
  test("cannot be removed nor change its type, open or closed alike; once they are moved or deleted it can", async () => {
    const { pipelineId, stages } = await create();
    const [one, two] = [await enter(pipelineId, "one"), await enter(pipelineId, "lost", { lostReason: "price" })];
    const withoutOne = stages.filter(({ stage }: { stage: string }) => stage !== "one");
    const withoutLost = [open("one"), open("two"), won, { ...lost, stage: "dropped" }];
    const swapped = [open("one"), { ...lost, stage: "two" }, won, open("lost")];
    for (const [list, named] of [
      [withoutOne, "one"],
      [withoutLost, "lost"],
      [swapped, "lost"],
    ]) {
      const refused = await admin.patch(`/pipelines/${pipelineId}`, { body: { stages: list } });
      expect([refused.status, refused.body.code, refused.body.details], refused.text).toEqual([409, "CONFLICT", { stages: [named] }]);
    }
    expect((await admin.get(`/pipelines/${pipelineId}`)).body).toMatchObject({ stages, version: 1 });
    await admin.patch(`/opportunities/${one.opportunityId}`, { body: { stage: "two" } });
    await admin.delete(`/opportunities/${two.opportunityId}`);
    expect((await admin.patch(`/pipelines/${pipelineId}`, { body: { stages: withoutOne } })).status).toBe(200);
    const refused = await admin.patch(`/opportunities/${one.opportunityId}`, { body: { stage: "one" } });
    expect(refused.body.details.fields[0].code).toBe("INVALID_ENUM");
  });

  test("keeps its history when it is removed later, and can come back", async () => {
    const { pipelineId, stages } = await create();
    const { opportunityId } = await enter(pipelineId, "one");
    await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "two" } });
    await admin.patch(`/pipelines/${pipelineId}`, { body: { stages: stages.slice(1) } });
    const history = (await admin.get(`/opportunities/${opportunityId}/stage-history`)).body.data;
    expect(history.map((row: { toStage: string }) => row.toStage)).toEqual(["one", "two"]);
    expect((await admin.patch(`/pipelines/${pipelineId}`, { body: { stages } })).body.stages).toEqual(stages);
    expect((await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "one" } })).status).toBe(200);
  });

  test("is never lost to a removal at the same moment", async () => {
    for (let round = 0; round < 5; round++) {
      const { pipelineId, stages } = await create();
      const [removed, ...entered] = await Promise.all([
        admin.patch(`/pipelines/${pipelineId}`, { body: { stages: stages.slice(1) } }),
        ...Array.from({ length: 4 }, () =>
          admin.post("/opportunities", { body: { customerId, name: "Racing", pipelineId, stage: "one" } }),
        ),
      ]);
      const onIt = (await admin.get(`/opportunities?pipelineId=${pipelineId}&stage=one`)).body.total;
      expect(onIt).toBe(entered.filter(({ status }) => status === 201).length);
      expect([200, 409]).toContain(removed.status);
      if (removed.status === 200) expect(onIt).toBe(0);
    }
  });
});
