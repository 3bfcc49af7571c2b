import type { TestClient } from "@cell/cell/testing/test-cell";
import { beforeAll, describe, expect, test } from "vitest";
import { created, query } from "./testing/requests.ts";
import { tenantsOnDemand } from "./testing/tenants.ts";
import { startCrm } from "./testing/test-crm.ts";

const newTenant = tenantsOnDemand();

describe("the grammar", () => {
  let admin: TestClient;
  const found = async (filter: string) => {
    const response = await admin.get(`/customers?${query({ filter, sort: "name" })}`);
    expect(response.status, response.text).toBe(200);
    return response.body.data.map(({ name }: { name: string }) => name).join("");
  };

  beforeAll(async () => {
    admin = await newTenant();
    await created(admin, "/customers", { name: "a", status: "lead", level: "A", tags: ["vip"] });
    await created(admin, "/customers", { name: "b", status: "active", level: "B", industry: "food and drink" });
    await created(admin, "/customers", { name: "c", status: "inactive", level: "A", industry: "Acme (China)" });
    await created(admin, "/customers", { name: "d", status: "active", level: "C", industry: "this or that, more" });
  });

  test.each([
    ["status[eq]:lead or status[eq]:active", "abd"],
    ["status[eq]:lead or status[eq]:active and level[eq]:C", "ad"],
    ["(status[eq]:lead or status[eq]:active) and level[eq]:C", "d"],
    ["level[eq]:A and (status[eq]:inactive or tags[contains]:vip)", "ac"],
    ["(level[eq]:A or level[eq]:B) and (status[in]:lead,active or industry[isNull]:false)", "abc"],
    ['industry[eq]:"food and drink" or industry[contains]:"(China)"', "bc"],
    ['industry[in]:"food and drink","this or that, more"', "bd"],
    ["((((( level[ne]:A )))))", "bd"],
    [" ".repeat(3_900), "abcd"],
    [`status[eq]:${" ".repeat(3_900)}lead`, "a"],
  ])("filter %j finds %s", async (filter, names) => {
    expect(await found(filter)).toBe(names);
  });

  test("counts and files say the same as the page", async () => {
    const filter = "status[eq]:lead or (status[eq]:active and level[eq]:C)";
    const exact = await admin.get(`/customers?${query({ filter, total: "exact", pageSize: "1" })}`);
    expect(exact.body.total).toBe(2);
    const file = await admin.get(`/customers/export?${query({ filter, format: "csv", sort: "name" })}`);
    expect(
      file.text
        .split("\r\n")
        .slice(1, -1)
        .map((line) => line.split(",")[2]),
    ).toEqual(["a", "d"]);
    expect((await admin.get(`/customers/export?${query({ filter })}`)).body.total).toBe(2);
  });

  test("a cursor walks an alternative like any other question", async () => {
    const filter = "status[eq]:active or level[eq]:A";
    const names: string[] = [];
    for (let cursor = ""; ; ) {
      const { body } = await admin.get(`/customers?${query({ filter, pageSize: "1", cursor })}`);
      names.push(...body.data.map(({ name }: { name: string }) => name));
      if (body.nextCursor === null) break;
      cursor = body.nextCursor;
    }
    expect(names.sort()).toEqual(["a", "b", "c", "d"]);
  });

  test.each([
    [Array.from({ length: 51 }, () => "level[eq]:A").join(" or "), /50 conditions/],
    [`${"(".repeat(6)}level[eq]:A${")".repeat(6)}`, /5 levels deep/],
    ["level[eq]:A or", /condition/],
    ["level[eq]:A,status[eq]:lead", /double quotes/],
    ["(level[eq]:A", /parenthesis/],
  ])("filter %j is a BAD_REQUEST that says why", async (filter, says) => {
    const response = await admin.get(`/customers?${query({ filter })}`);
    expect([response.status, response.body.code, response.body.details.fields[0].path]).toEqual([400, "BAD_REQUEST", "filter"]);
    expect(response.body.message).toMatch(says);
  });

  test("3,900 blanks cost no more than a plain filter", async () => {
    const cost = async (filter: string) => {
      const begun = process.cpuUsage().user;
      for (let times = 0; times < 30; times++) await admin.get(`/customers?${query({ filter })}`);
      return process.cpuUsage().user - begun;
    };
    const [plain, blank] = ["level[eq]:A", `level[eq]:A${" ".repeat(3_900)}`];
    await Promise.all([cost(plain), cost(blank)]);
    expect((await cost(blank)) / (await cost(plain))).toBeLessThan(3);
  });
});

describe("values that a field does not know", () => {
  let admin: TestClient;
  let pipelineId: string;
  let ids: Record<string, string>;
  const unknownId = "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10";

  beforeAll(async () => {
    admin = await newTenant();
    const { customerId = "" } = await created(admin, "/customers", { name: "Acme" });
    const { opportunityId = "" } = await created(admin, "/opportunities", { customerId, name: "deal" });
    const { webhookId = "" } = await created(admin, "/webhooks", { url: "https://127.0.0.1/", events: ["*"] });
    ids = { opportunityId, webhookId };
    pipelineId = (await admin.get("/pipelines")).body.data[0].pipelineId;
  });

  const lists = {
    customers: () => "/customers",
    opportunities: () => "/opportunities",
    history: () => `/opportunities/${ids.opportunityId}/stage-history`,
    contracts: () => "/contracts",
    payments: () => "/payments",
    deliveries: () => `/webhooks/${ids.webhookId}/deliveries`,
    "customers' export": () => "/customers/export",
    "opportunities' export": () => "/opportunities/export",
    "opportunities' file": () => "/opportunities/export?format=csv",
  };

  test.each([
    ["customers", "status[eq]:bogus", "lead, active, inactive"],
    ["customers", "status[in]:lead,bogus", "lead, active, inactive"],
    ["customers", "name[eq]:x or status[ne]:bogus", "lead, active, inactive"],
    ["customers' export", "status[eq]:Lead", "lead, active, inactive"],
    ["opportunities", "status[eq]:bogus", "open, won, lost"],
    ["opportunities", "stage[eq]:bogus", "prospecting, qualification, proposal, negotiation, won, lost"],
    ["opportunities", "lastStage[in]:bogus", "prospecting"],
    ["opportunities", "currency[eq]:XXY", "CNY"],
    ["opportunities' export", "stage[eq]:bogus", "prospecting"],
    ["opportunities' file", "stage[eq]:bogus", "prospecting"],
    ["history", "toStage[eq]:bogus", "prospecting"],
    ["history", "fromStage[ne]:bogus", "prospecting"],
    ["contracts", "status[eq]:signed", "draft, active, completed, void, expired"],
    ["contracts", "currency[in]:CNY,cny", "USD"],
    ["payments", "status[eq]:bogus", "received, void"],
    ["payments", "kind[eq]:bogus", "payment, refund"],
    ["payments", "currency[eq]:bogus", "CNY"],
    ["deliveries", "status[eq]:bogus", "pending, delivered, failed"],
    ["deliveries", "eventType[eq]:bogus", "customer.created"],
  ] as const)("%s?filter=%s is a BAD_REQUEST naming the known ones", async (list, filter, known) => {
    const path = lists[list]();
    const response = await admin.get(`${path}${path.includes("?") ? "&" : "?"}${query({ filter })}`);
    expect([response.status, response.body.code]).toEqual([400, "BAD_REQUEST"]);
    expect(response.body.details.fields[0]).toMatchObject({ path: "filter", code: "INVALID_ENUM" });
    expect(response.body.message).toContain(known);
  });

  test.each([
    ["/opportunities", "stage=bogus", "stage", "prospecting"],
    ["/opportunities", "stage=proposal,bogus", "stage", "prospecting"],
    ["/opportunities", "status=bogus", "status", "open, won, lost"],
    ["/opportunities", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/opportunities", `enteredPipelineId=${unknownId}`, "enteredPipelineId", "$pipeline"],
    ["/opportunities", `filter=pipelineId[eq]:${unknownId}`, "filter", "$pipeline"],
    ["/opportunities", "enteredStage=bogus", "enteredStage", "prospecting"],
    ["/opportunities", "passedStages=proposal,bogus", "passedStages", "prospecting"],
    ["/opportunities", "notEnteredStage=bogus", "notEnteredStage", "prospecting"],
    ["/opportunities", "enteredStage=proposal&leftTo=bogus", "leftTo", "prospecting"],
    ["/opportunities/export", "stage=bogus", "stage", "prospecting"],
    ["/opportunities/export?format=csv", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/contracts", "status=bogus", "status", "draft"],
    ["/payments", "kind=bogus", "kind", "payment"],
    ["/audit-logs", "action=bogus", "action", "create"],
    ["/audit-logs", "resourceType=bogus", "resourceType", "customer"],
    ["/pipeline/summary", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/pipeline/funnel", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/reports/funnel", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/opportunities/forecast", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/metrics", `pipelineId=${unknownId}`, "pipelineId", "$pipeline"],
    ["/pipeline/summary", "currency=BOG", "currency", "CNY"],
    ["/reports/funnel", "groupBy=bogus", "groupBy", "owner"],
  ])("%s with %s is a BAD_REQUEST naming the known ones", async (path, parameters, field, known) => {
    const response = await admin.get(`${path}${path.includes("?") ? "&" : "?"}${parameters}`);
    expect([response.status, response.body.code], response.text).toEqual([400, "BAD_REQUEST"]);
    expect(response.body.details.fields[0].path).toBe(field);
    expect(response.body.message).toContain(known.replace("$pipeline", pipelineId));
  });

  test("a delivery's event type as a parameter is no other than as a filter", async () => {
    const response = await admin.get(`/webhooks/${ids.webhookId}/deliveries?eventType=bogus`);
    expect([response.status, response.body.details.fields[0].path]).toEqual([400, "eventType"]);
    expect((await admin.get(`/webhooks/${ids.webhookId}/deliveries?eventType=customer.created`)).status).toBe(200);
  });

  test("a pipeline and its stages are known as soon as they are there, and stages that were removed stay known", async () => {
    const other = await startCrm();
    try {
      const elsewhere = other.client(admin.principal.tenantId);
      expect((await elsewhere.get("/opportunities?stage=contacted")).status).toBe(400);
      const stages = [
        { stage: "contacted", type: "open", probability: 25 },
        { stage: "offered", type: "open", probability: 50 },
        { stage: "won", type: "won" },
        { stage: "lost", type: "lost" },
      ];
      const made = await created(admin, "/pipelines", { name: "Partners", stages });
      for (const client of [admin, elsewhere]) {
        const parameters = `pipelineId=${made.pipelineId?.toUpperCase()}&stage=contacted,offered`;
        expect((await client.get(`/opportunities?${parameters}`)).body.total).toBe(0);
        expect((await client.get(`/opportunities?filter=stage[eq]:contacted and pipelineId[eq]:${made.pipelineId}`)).body.total).toBe(0);
      }
      const changed = await admin.patch(`/pipelines/${made.pipelineId}`, {
        body: { stages: stages.filter(({ stage }) => stage !== "offered") },
      });
      expect(changed.status).toBe(200);
      expect((await admin.get("/opportunities?stage=offered")).status).toBe(200);
    } finally {
      await other.stop();
    }
  });

  test("another tenant's pipeline is not known, and not named", async () => {
    const other = await newTenant();
    const theirs = (await other.get("/pipelines")).body.data[0].pipelineId;
    const response = await admin.get(`/opportunities?pipelineId=${theirs}`);
    expect([response.status, response.body.details.fields[0].code]).toEqual([400, "INVALID_ENUM"]);
    const own = (await admin.get("/pipelines")).body.data.map((row: { pipelineId: string }) => row.pipelineId);
    expect(response.body.message.split(" use one of ")[1].split(", ")).toEqual(own);
  });
});

describe("dates are the tenant's days", () => {
  let admin: TestClient;
  let contractId: string;
  let payments: string[];
  const sums = async (filter: string) => {
    const response = await admin.get(`/payments?${query({ filter, sort: "paidAt" })}`);
    expect(response.status, response.text).toBe(200);
    expect(response.body.total).toBe(response.body.data.length);
    return response.body.data.map((row: { paymentId: string }) => payments.indexOf(row.paymentId) + 1).join("");
  };

  beforeAll(async () => {
    admin = await newTenant();
    await admin.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
    const { customerId = "" } = await created(admin, "/customers", { name: "Acme" });
    ({ contractId = "" } = await created(admin, "/contracts", { customerId, name: "c", amount: "1000", status: "active" }));
    payments = [];
    for (const [paidAt, amount] of [
      ["2026-03-01", "10"],
      ["2026-03-31T15:59:59.999Z", "20"],
      ["2026-04-01", "40"],
    ] as const) {
      payments.push((await created(admin, "/payments", { contractId, amount, paidAt })).paymentId ?? "");
    }
  });

  test.each([
    ["paidAt[gte]:2026-03-01 and paidAt[lt]:2026-04-01", "12"],
    ["paidAt[eq]:2026-03-01", "1"],
    ["paidAt[eq]:2026-03-31", "2"],
    ["paidAt[eq]:2026-02-28", ""],
    ["paidAt[ne]:2026-03-31", "13"],
    ["paidAt[in]:2026-03-01,2026-04-01", "13"],
    ["paidAt[in]:2026-03-01,2026-03-31T16:00:00Z", "13"],
    ["paidAt[lte]:2026-03-31", "12"],
    ["paidAt[lte]:2026-03-01", "1"],
    ["paidAt[lt]:2026-03-01", ""],
    ["paidAt[gt]:2026-03-01", "23"],
    ["paidAt[gt]:2026-03-31", "3"],
    ["paidAt[gte]:2026-04-01", "3"],
    ["paidAt[gt]:2026-03-31T15:59:59.999Z", "3"],
    ["paidAt[lte]:2026-03-31T15:59:59.999Z", "12"],
    ["paidAt[eq]:2026-04-01T00:00:00+08:00", "3"],
    ["paidAt[ne]:2026-04-01T00:00:00+08:00", "12"],
    ["paidAt[gte]:0001-01-01 and paidAt[lte]:9999-12-31", "123"],
    ["paidAt[eq]:9999-12-31", ""],
  ])("filter %s finds %s", async (filter, numbers) => {
    expect(await sums(filter)).toBe(numbers);
  });

  test("totals are those of the days", async () => {
    const { body } = await admin.get(`/payments?${query({ filter: "paidAt[gte]:2026-03-01 and paidAt[lt]:2026-04-01" })}`);
    expect(body.totals.byCurrency).toMatchObject([{ currency: "CNY", count: 2, net: "30.00" }]);
  });

  test("a change of the timezone moves the days", async () => {
    await admin.patch("/settings", { body: { timezone: "America/New_York" } });
    expect(await sums("paidAt[eq]:2026-02-28")).toBe("1");
    expect(await sums("paidAt[eq]:2026-03-31")).toBe("23");
    await admin.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
  });

  test("a column of dates compares as dates, whatever the timezone", async () => {
    const { customerId = "" } = await created(admin, "/customers", { name: "Dated" });
    for (const expectedCloseDate of ["2026-03-30", "2026-03-31", "2026-04-01"])
      await created(admin, "/opportunities", { customerId, name: expectedCloseDate, expectedCloseDate });
    const found = async (path: string, filter: string) => {
      const { body } = await admin.get(`${path}?${query({ filter, sort: "expectedCloseDate" })}`);
      return body.data.map(({ name }: { name: string }) => name);
    };
    for (const path of ["/opportunities", "/opportunities/export"]) {
      expect(await found(path, "expectedCloseDate[eq]:2026-03-31")).toEqual(["2026-03-31"]);
      expect(await found(path, "expectedCloseDate[lte]:2026-03-31")).toEqual(["2026-03-30", "2026-03-31"]);
      expect(await found(path, "expectedCloseDate[gt]:2026-03-31")).toEqual(["2026-04-01"]);
    }
    expect((await admin.get(`/opportunities?${query({ filter: "expectedCloseDate[eq]:2026-03-31T00:00:00Z" })}`)).status).toBe(400);
  });

  test("every time field of every list takes the tenant's day", async () => {
    const now = new Date();
    const today = new Intl.DateTimeFormat("en-CA", { timeZone: "Asia/Shanghai" }).format(now);
    const yesterday = new Date(Date.parse(today) - 86_400_000).toISOString().slice(0, 10);
    const fields = {
      "/customers": ["createdAt", "updatedAt"],
      "/customers/export": ["createdAt"],
      "/contacts": ["createdAt", "updatedAt"],
      "/opportunities": ["createdAt", "updatedAt", "stageEnteredAt", "closedAt"],
      "/opportunities/export": ["stageEnteredAt"],
      "/contracts": ["createdAt", "updatedAt", "signedAt"],
      "/payments": ["createdAt", "updatedAt", "paidAt"],
      "/pipelines": ["createdAt", "updatedAt"],
      "/webhooks": ["createdAt", "updatedAt"],
    };
    for (const [path, names] of Object.entries(fields)) {
      for (const name of names) {
        const count = async (filter: string) => (await admin.get(`${path}?${query({ filter })}`)).body.total;
        const all = await count(`${name}[isNull]:false`);
        const parts = [`${name}[lt]:${today}`, `${name}[eq]:${today}`, `${name}[gt]:${today}`];
        const counts = await Promise.all(parts.map(count));
        expect(
          counts.reduce((sum, part) => sum + part, 0),
          `${path} ${name}`,
        ).toBe(all);
        expect(await count(`${name}[lte]:${yesterday}`), `${path} ${name}`).toBe(counts[0]);
        if (name === "createdAt") expect(counts[1], `${path} ${name}`).toBe(all);
      }
    }
  });
});
