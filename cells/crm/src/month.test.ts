import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import type { Principal } from "@cell/http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCrm, type TestCrm } from "./testing/test-crm.ts";

/** The permissions of each role, as the gateway grants them. */
const roles = {
  manager: {
    permissions: ["crm:read", "crm:write", "crm:import", "crm:export", "report:read", "pii:read", "amount:read", "pii:reveal"],
  },
  sales: { permissions: ["crm:read", "crm:write", "crm:export", "report:read", "pii:read", "amount:read"], scope: "own" },
  auditor: { permissions: ["crm:read", "crm:export", "report:read", "audit:read", "amount:read"] },
  integrator: { permissions: ["crm:read", "crm:write", "crm:import", "crm:export"], actorType: "service" },
} as const satisfies Record<string, Partial<Principal>>;

let crm: TestCrm;
let tenantId: string;
let admin: TestClient;
let manager: TestClient;
let anna: TestClient;
let ben: TestClient;
let auditor: TestClient;
let integrator: TestClient;

beforeAll(async () => {
  crm = await startCrm();
  tenantId = await crm.tenant();
  const as = (userId: string, role: Partial<Principal> = {}) => crm.client(tenantId, { userId, ...role });
  admin = as("admin");
  manager = as("manager", roles.manager);
  anna = as("anna", roles.sales);
  ben = as("ben", roles.sales);
  auditor = as("auditor", roles.auditor);
  integrator = as("integrator", roles.integrator);
});
afterAll(() => crm.stop());

type Entry = [requestId: string, action: string, resourceType: string, actorId: string];
/** What the audit trail has to say in the end. */
const trail: Entry[] = [];
const repeats: { client: TestClient; again(): Promise<TestResponse>; first: TestResponse }[] = [];

/** A request that is audited, by default with one entry; `made`: those of an import's records, which stand before its own. */
async function done(client: TestClient, method: string, path: string, request: object, entry: string, made: string[] = []) {
  const key = `month-${trail.length + 1}`;
  const again = () => client.send(method, path, { ...request, key });
  const first = await again();
  expect([200, 201], first.text).toContain(first.status);
  for (const recorded of [...made, entry]) {
    const [action = "", type = ""] = recorded.split(" ");
    trail.push([key, action, type, client.principal.userId]);
  }
  if (method !== "GET") repeats.push({ client, again, first });
  return first.body ?? first.text;
}

const create = (client: TestClient, type: string, body: object) =>
  done(client, "POST", type === "opportunity" ? "/opportunities" : `/${type}s`, { body }, `create ${type}`);
const change = (client: TestClient, path: string, body: object) =>
  done(client, "PATCH", path, { body }, `update ${path.startsWith("/opp") ? "opportunity" : path.slice(1).split("s/")[0]}`);
const refused = async (client: TestClient, method: string, path: string, body: object | undefined, status: number) => {
  const response = await client.send(method, path, { body, key: `refused ${method} ${path}`.replace(/[^\w]/g, "-") });
  expect(response.status, `${method} ${path} ${response.text}`).toBe(status);
  return response.body;
};
const get = async (client: TestClient, path: string) => {
  const response = await client.get(path);
  expect(response.status, response.text).toBe(200);
  return response.body;
};
const totalOf = async (client: TestClient, path: string): Promise<number> => (await get(client, path)).total;

const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
const [yesterday, inForty, since] = [day(-1), day(40), day(-61)];
const window = `from=${since}`;
const customers: Record<string, string> = {};
const opportunities: Record<string, string> = {};

async function leadsComeIn(): Promise<void> {
  await done(admin, "PATCH", "/settings", { body: { stuckAfterDays: 10 } }, "settings settings");
  const file = `客户名称,联系人,联系电话,邮箱,来源,负责人,标签
安达贸易,王伟,13800138001,wang@example.com,展会,anna,重点;华东
北辰科技,李娜,13800138002,li@example.com,网站,anna,
诚信物流,张敏,13800138003,,网站,anna,
德隆制造,刘洋,13800138004,,推荐,ben,重点
 安达贸易 ,王伟,13800138001,,展会,ben,
恩施食品,陈静,13800138005,,推荐,ben,
飞越能源,杨帆,13800138006,,展会,ben,
错号公司,赵磊,不知道,,展会,ben,
`;
  const created = Array<string>(6).fill("create customer");
  const csv = { raw: file, headers: { "content-type": "text/csv" } };
  const report = await done(integrator, "POST", "/customers/import", csv, "import import", created);
  expect(report).toMatchObject({ total: 8, created: 6, updated: 0, skipped: 0, failed: 2 });
  expect(report.errors).toMatchObject([
    { row: 5, line: 6, field: "name", code: "DUPLICATE_IN_FILE", duplicateOf: 1 },
    { row: 8, line: 9, field: "contactPhone", code: "INVALID_FORMAT" },
  ]);
  for (const { name, customerId } of (await get(integrator, "/customers")).data) customers[name] = customerId;

  const history = (stages: readonly (readonly [string, number])[]) => ({
    stage: stages.at(-1)?.[0],
    stageHistory: stages.map(([stage, daysAgo]) => ({ stage, enteredAt: day(-daysAgo) })),
  });
  const moved = (customerName: string, ownerId: string, amount: string, ...stages: (readonly [string, number])[]) => ({
    customerName,
    name: `${customerName}旧单`,
    ownerId,
    amount,
    ...history(stages),
  });
  const items = [
    { ...moved("飞越能源", "ben", "40000", ["prospecting", 40], ["qualification", 30]), expectedCloseDate: inForty },
    moved("诚信物流", "anna", "20000", ["prospecting", 60], ["proposal", 50], ["won", 20]),
    { ...moved("恩施食品", "ben", "10000", ["prospecting", 50], ["lost", 45]), lostReason: "预算取消" },
  ];
  const moves = Array<string>(3).fill("create opportunity");
  expect(await done(integrator, "POST", "/opportunities/import", { body: { items } }, "import import", moves)).toMatchObject({
    created: 3,
  });
}

async function salesSell(): Promise<void> {
  const [anda = "", beichen = "", delong = "", enshi = ""] = ["安达贸易", "北辰科技", "德隆制造", "恩施食品"].map(
    (name) => customers[name],
  );
  for (const customerId of [anda, beichen]) await change(anna, `/customers/${customerId}`, { status: "active", level: "A" });
  await create(anna, "contact", { customerId: anda, name: "孙悦", phone: "13900139000", isPrimary: true });
  await refused(anna, "PATCH", `/customers/${delong}`, { level: "C" }, 404);
  await refused(anna, "POST", "/opportunities", { customerId: delong, name: "Not hers" }, 404);
  await refused(anna, "POST", "/customers/import", { items: [{ name: "Not hers" }] }, 403);

  const open = async (client: TestClient, name: string, body: object) => {
    opportunities[name] = (await create(client, "opportunity", { name, ...body })).opportunityId;
  };
  const move = (client: TestClient, name: string, body: object) => change(client, `/opportunities/${opportunities[name]}`, body);
  await open(anna, "年度采购", { customerId: anda, amount: "100000" });
  await open(anna, "样品试单", { customerId: beichen, amount: "60000" });
  await open(anna, "设备升级", { customerId: anda, amount: "50000", expectedCloseDate: yesterday });
  await open(ben, "产线改造", { customerId: delong, amount: "80000", expectedCloseDate: inForty });
  await open(ben, "备件供应", { customerId: enshi, amount: "30000" });

  for (const stage of ["qualification", "proposal", "won"]) await move(anna, "年度采购", { stage });
  await move(anna, "样品试单", { stage: "qualification" });
  const { details } = await refused(anna, "PATCH", `/opportunities/${opportunities.样品试单}`, { stage: "lost" }, 400);
  expect(details.fields).toMatchObject([{ path: "lostReason", code: "REQUIRED" }]);
  await move(anna, "样品试单", { stage: "lost", lostReason: "价格偏高" });
  await move(anna, "设备升级", { stage: "proposal" });
  for (const stage of ["negotiation", "proposal"]) await move(ben, "产线改造", { stage });
  await move(ben, "产线改造", { stage: "negotiation", probability: 90 });
}

async function moneyComesIn(): Promise<string> {
  const deal = { customerId: customers.安达贸易, opportunityId: opportunities.年度采购, name: "年度采购合同", amount: "100000" };
  const { contractId } = await create(anna, "contract", deal);
  const contract = () => get(anna, `/contracts/${contractId}`);
  const pay = (amount: string, more: object = {}) => create(anna, "payment", { contractId, amount, paidAt: yesterday, ...more });
  await refused(anna, "POST", "/payments", { contractId, amount: "1", paidAt: yesterday }, 409);
  await change(anna, `/contracts/${contractId}`, { status: "active", signedAt: yesterday });
  expect(await pay("30000.10")).toMatchObject({ amount: "****", overpaid: "****" });
  await pay("49999.90");
  expect(await contract()).toMatchObject({ receivedAmount: "80000.00", outstandingAmount: "20000.00", paidRatio: 80, overpaid: false });
  const { paymentId: last } = await pay("30000");
  expect(await get(anna, `/payments/${last}`)).toMatchObject({ overpaid: true });
  expect(await contract()).toMatchObject({ receivedAmount: "110000.00", outstandingAmount: "0.00", paidRatio: 110, overpaid: true });
  await pay("10000", { kind: "refund" });
  const { paymentId } = await pay("500");
  await refused(ben, "POST", `/payments/${paymentId}/void`, undefined, 404);
  await done(manager, "POST", `/payments/${paymentId}/void`, {}, "void payment");
  expect(await contract()).toMatchObject({ receivedAmount: "100000.00", outstandingAmount: "0.00", paidRatio: 100, overpaid: false });
  await change(anna, `/contracts/${contractId}`, { status: "completed" });
  const { total, totals } = await get(anna, "/payments");
  expect([total, totals.byCurrency[0]]).toMatchObject([5, { count: 5, received: "110000.00", refunded: "10000.00", net: "100000.00" }]);
  return contractId;
}

/** Every figure with a link of the same name is as many rows. How many there were. */
async function drill(client: TestClient, node: unknown): Promise<number> {
  if (typeof node !== "object" || node === null) return 0;
  const { links = {}, ...rest } = node as Record<string, unknown> & { links?: Record<string, string | null> };
  let drilled = 0;
  for (const [name, link] of Object.entries(links)) {
    const figure = rest[name] as number | { count: number } | null;
    if (link === null || figure === null) continue;
    const { total, data } = await get(client, link);
    const expected = typeof figure === "number" ? figure : figure.count;
    expect([total, data.length], `${name} ${link}`).toEqual([expected, expected]);
    drilled += 1;
  }
  for (const child of Object.values(rest)) drilled += await drill(client, child);
  return drilled;
}

async function salesSeeTheirOwn(contractId: string): Promise<void> {
  const summary = await get(anna, `/pipeline/summary?${window}`);
  expect(summary.totals).toMatchObject({ count: 1, amount: "50000.00", weightedAmount: "25000.00" });
  expect(summary.attention).toMatchObject({ overdue: 1, stuck: 0 });
  expect(summary.period).toMatchObject({ created: 4, won: { count: 2, amount: "120000.00" }, lost: { count: 1, amount: "60000.00" } });
  const funnel = await get(anna, "/pipeline/funnel");
  expect(funnel).toMatchObject({ cohort: 4, won: 2, lost: 1, open: 1, overallConversion: 50 });
  expect((await drill(anna, summary)) + (await drill(anna, funnel))).toBeGreaterThan(30);
  expect((await get(anna, "/opportunities/forecast")).overdue).toMatchObject({ count: 1, amount: "50000.00" });
  expect(await get(ben, "/metrics")).toMatchObject({ customers: 3, opportunities: { open: 3, won: 0, lost: 1 }, winRate: 0 });
  expect(await Promise.all(["/customers", "/opportunities", "/contracts", "/payments"].map((path) => totalOf(anna, path)))).toEqual([
    3, 4, 1, 5,
  ]);
  expect(await Promise.all(["/customers", "/opportunities", "/contracts", "/payments"].map((path) => totalOf(ben, path)))).toEqual([
    3, 4, 0, 0,
  ]);
  const exported: string = await done(anna, "GET", "/opportunities/export?format=csv", {}, "export opportunity");
  expect(exported.trim().split("\r\n")).toHaveLength(1 + 4);
  expect((await done(ben, "GET", "/customers/export", {}, "export customer")).total).toBe(3);
  const view = await get(anna, `/customers/${customers.安达贸易}/360`);
  expect(view.opportunities).toMatchObject({ total: 2, open: 1, won: 1, wonAmount: "100000.00", openAmount: "50000.00" });
  expect(view.summary).toMatchObject({ lifetimeValue: "100000.00", openOpportunities: 1 });
  const hers = [`/customers/${customers.安达贸易}`, `/opportunities/${opportunities.年度采购}`, `/contracts/${contractId}`];
  for (const path of [...hers, `${hers[0]}/360`, `${hers[1]}/stage-history`]) await refused(ben, "GET", path, undefined, 404);
}

async function managerLooks(): Promise<string> {
  const summary = await get(manager, `/pipeline/summary?${window}`);
  expect(
    summary.stages.map((stage: Record<string, unknown>) => ["count", "amount", "weightedAmount", "stuckCount"].map((name) => stage[name])),
  ).toEqual([
    [1, "30000.00", "3000.00", 0],
    [1, "40000.00", "8000.00", 1],
    [1, "50000.00", "25000.00", 0],
    [1, "80000.00", "72000.00", 0],
  ]);
  expect(summary).toMatchObject({
    totals: { count: 4, amount: "200000.00", weightedAmount: "108000.00" },
    attention: { overdue: 1, stuck: 1 },
    period: { created: 8, won: { count: 2, amount: "120000.00" }, lost: { count: 2, amount: "70000.00" } },
  });
  // 120000 / 190000; one was won at once, the other after 40 days.
  expect(summary.period).toMatchObject({ winRate: 50, winRateByAmount: 63.16, avgSalesCycleDays: 20 });

  const funnel = await get(manager, `/pipeline/funnel?${window}`);
  const shown = ["count", "amount", "conversionFromPrevious", "conversionFromFirst", "dropOff", "currentCount", "lostFromHere"];
  expect(funnel.stages.map((stage: Record<string, unknown>) => shown.map((name) => stage[name]))).toEqual([
    [8, "390000.00", null, 100, null, 1, 1],
    [6, "350000.00", 75, 75, 2, 1, 1],
    [4, "250000.00", 66.67, 50, 2, 1, 0],
    [3, "200000.00", 75, 37.5, 1, 1, 0],
    [2, "120000.00", 66.67, 25, 1, 2, 0],
  ]);
  const metrics = await get(manager, "/metrics");
  expect(metrics).toMatchObject({ customers: 6, opportunities: { open: 4, won: 2, lost: 2 }, winRate: 50, conversionRate: 25 });
  expect(metrics.funnel).toMatchObject({ cohort: 8, won: 2, lost: 2, open: 4, overallConversion: 25 });
  const links = [4 * 2 + 1 + 2 + 3, 4 + 5 * 4 - 1, 3 + 4 + 5 * 4 - 1];
  expect([await drill(manager, summary), await drill(manager, funnel), await drill(manager, metrics)]).toEqual(links);

  const report = await get(manager, `/reports/funnel?${window}`);
  const became = ["entries", "advanced", "lost", "regressed", "still", "advanceRate"];
  expect(report.stages.map((stage: Record<string, unknown>) => became.map((name) => stage[name]))).toEqual([
    [8, 6, 1, 0, 1, 85.71],
    [3, 1, 1, 0, 1, 50],
    [4, 3, 0, 0, 1, 100],
    [2, 0, 0, 1, 1, 0],
  ]);
  expect(report.totals).toMatchObject({ created: 8, won: 2, lost: 2, winRate: 50, wonAmount: "120000.00", avgSalesCycleDays: 20 });
  // 8 created × 60000 won on average × 1/2 / 20 days, and the seconds that the test took.
  expect(Math.abs(Number(report.totals.salesVelocity) - 12_000)).toBeLessThan(10);

  const forecast = await get(manager, `/opportunities/forecast?${window}&to=${inForty}`);
  const closedWon = forecast.buckets.map((bucket: { closedWon: string }) => Number(bucket.closedWon));
  expect(closedWon.reduce((sum: number, amount: number) => sum + amount)).toBe(120_000);
  expect(forecast.buckets.find(({ period }: { period: string }) => period === inForty.slice(0, 7))).toMatchObject({
    openCount: 2,
    openAmount: "120000.00",
    weightedAmount: "80000.00",
    bestCase: "80000.00",
    commit: "80000.00",
    forecast: "80000.00",
  });
  expect(forecast).toMatchObject({ overdue: { count: 1, amount: "50000.00" }, undated: { count: 1, weightedAmount: "3000.00" } });
  return summary.asOf;
}

async function managerTransfers(): Promise<void> {
  const path = `/opportunities/${opportunities.设备升级}`;
  const { version: _v, updatedAt: _u, ...before } = await get(manager, path);
  await change(manager, path, { ownerId: "ben" });
  expect(await get(manager, path)).toMatchObject({ ...before, ownerId: "ben" });
  await change(manager, `/customers/${customers.安达贸易}`, { ownerId: "ben" });
  await refused(anna, "GET", path, undefined, 404);
  expect(await Promise.all(["/customers", "/opportunities", "/contracts"].map((list) => totalOf(anna, list)))).toEqual([2, 3, 0]);
  expect(await Promise.all(["/customers", "/opportunities", "/contracts"].map((list) => totalOf(ben, list)))).toEqual([4, 5, 1]);
  const view = await get(ben, `/customers/${customers.安达贸易}/360`);
  expect(view).toMatchObject({ opportunities: { total: 1 }, contracts: { total: 1 }, payments: { total: 5 } });
  for (const client of [manager, anna, ben, integrator]) await refused(client, "GET", "/audit-logs", undefined, 403);
}

/** Whether what a request of Anna's answered is Ben's now. */
function isBens({ body }: TestResponse): boolean {
  return body?.stage ? body.opportunityId === opportunities.设备升级 : body?.customerId === customers.安达贸易;
}

async function auditorReads(): Promise<void> {
  const { data, total } = await get(auditor, "/audit-logs?pageSize=200");
  const recorded = data.map((entry: Record<string, string>) =>
    ["requestId", "action", "resourceType", "actorId"].map((name) => entry[name]),
  );
  expect(recorded.reverse()).toEqual(trail);
  expect(total).toBe(trail.length);
  const [contact] = (await get(auditor, "/audit-logs?resourceType=contact")).data;
  expect(contact.changes).toContainEqual({ field: "phone", before: null, after: "139****9000" });
  await crm.sealAll(tenantId);
  expect(await get(auditor, "/audit-logs/verify")).toMatchObject({ ok: true, checked: trail.length, firstBroken: null });
}

test("a month's work of six people gives the figures computed by hand, and the audit trail has all of it", async () => {
  await leadsComeIn();
  await salesSell();
  const contractId = await moneyComesIn();
  await salesSeeTheirOwn(contractId);
  const asOf = await managerLooks();
  await managerTransfers();
  await auditorReads();

  const customer = `/customers/${customers.北辰科技}`;
  await refused(auditor, "POST", "/customers", { name: "No writer" }, 403);
  await refused(auditor, "PATCH", customer, { level: "Z" }, 403);
  await refused(auditor, "DELETE", customer, undefined, 403);
  await refused(auditor, "POST", "/opportunities/import", { items: [] }, 403);
  await refused(auditor, "PATCH", "/settings", { stuckAfterDays: 1 }, 403);

  const figures = async () =>
    JSON.stringify([await get(manager, `/pipeline/summary?${window}&asOf=${asOf}`), await get(auditor, "/contracts")]);
  const before = await figures();
  for (const { client, again, first } of repeats) {
    const repeated = await again();
    if (client === anna && isBens(first)) expect([repeated.status, repeated.body.code]).toEqual([404, "NOT_FOUND"]);
    else expect([repeated.status, repeated.text, repeated.headers.get("idempotency-replayed")]).toEqual([first.status, first.text, "true"]);
  }
  expect(await figures()).toBe(before);
  await auditorReads();
});
