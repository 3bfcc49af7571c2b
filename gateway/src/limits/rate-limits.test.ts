import { setTimeout as sleep } from "node:timers/promises";
import { Problem } from "@cell/problem";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createGatewayMetrics } from "../metrics.ts";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, issueKey, readMetric, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { RateLimits } from "./rate-limits.ts";

let cell: TestCell;
let database: string;
let gateway: TestGateway;

beforeAll(async () => {
  cell = await startTestCell();
  database = await createDatabase();
  gateway = await startTestGateway(database, `crm=${cell.url}`, { RATE_LIMIT_TOKEN: "1", RATE_LIMIT_TENANT: "3" });
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const ask = (key: string, tenantId: string, on = gateway, init: Parameters<TestGateway["call"]>[1] = {}) =>
  on.call("/api/v1/crm/customers", { key, tenantId, ...init });

/** Sends until a request is rejected: the number of successes, and the error. */
async function exhaust(send: () => ReturnType<typeof ask>) {
  for (let answered = 0; answered < 100; answered++) {
    const response = await send();
    if (response.status === 429) return { answered, refused: response };
  }
  throw new Error("no limit");
}

test("every forwarded response has the limit and the remaining requests, for the token and for the tenant", async () => {
  const { key } = await createTenant(gateway, "tenant-told");
  const first = await ask(key, "tenant-told");
  expect(first.status).toBe(200);
  expect(first.headers.get("ratelimit-policy")).toBe('"token";q=2;w=2, "tenant";q=6;w=2');
  expect(first.headers.get("ratelimit")).toBe('"token";r=1;t=1, "tenant";r=5;t=1');
  const missing = await gateway.call("/api/v1/crm/nothing", { key, tenantId: "tenant-told" });
  expect(missing.headers.get("ratelimit")).toMatch(/^"token";r=[01];t=[12], "tenant";r=[45];t=1$/);
});

test("a token past its rate gets 429 with Retry-After, does not reach the cell, and continues after the wait", async () => {
  const { key } = await createTenant(gateway, "tenant-hasty");
  const { key: other } = await issueKey(gateway, { tenantId: "tenant-hasty" });
  const write = () => ask(key, "tenant-hasty", gateway, { method: "POST", json: {}, headers: { "x-request-id": "hasty-1" } });
  const reached = cell.requests.length;
  const refusedBefore = await readMetric(gateway, 'gateway_rate_limited_total{limit="token"}');
  const { answered, refused } = await exhaust(write);
  expect(refused).toMatchObject({ status: 429, body: { code: "RATE_LIMITED", requestId: "hasty-1" } });
  expect(refused.body.details).toEqual({ limit: "token", requestsPerSecond: 1, burst: 2, freeAt: expect.stringMatching(/^\d{4}-.*Z$/) });
  expect(refused.headers.get("ratelimit")).toBe('"token";r=0;t=1');
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(cell.requests.length).toBe(reached + answered);
  expect(await readMetric(gateway, 'gateway_rate_limited_total{limit="token"}')).toBe(refusedBefore + 1);

  expect((await ask(other, "tenant-hasty")).status).toBe(200);
  await sleep(1_000);
  const repeated = await write();
  expect(repeated.status).toBe(200);
  expect(cell.requests.at(-1)?.caller).toMatchObject({ requestId: "hasty-1", requestIdIsKey: true });
});

test("the tokens of one tenant share its rate limit, which does not affect other tenants", async () => {
  await createTenant(gateway, "tenant-crowd");
  const keys: string[] = [];
  for (let index = 0; index < 6; index++) keys.push((await issueKey(gateway, { tenantId: "tenant-crowd" })).key);
  const responses = await Promise.all(keys.flatMap((key) => [1, 2].map(() => ask(key, "tenant-crowd"))));
  const refused = responses.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThanOrEqual(4);
  expect(refused.map(({ body }) => (body.details as { limit: string }).limit)).toContain("tenant");
  const { key } = await createTenant(gateway, "tenant-quiet");
  expect((await ask(key, "tenant-quiet")).status).toBe(200);
});

test("an operator sets a tenant's rate limit, or none, without a restart", async () => {
  const generous = await startTestGateway(database, `crm=${cell.url}`, { RATE_LIMIT_TOKEN: "0", RATE_LIMIT_TENANT: "1" });
  try {
    const { key } = await createTenant(generous, "tenant-paying");
    const patch = (rateLimit: number | null) => generous.call("/api/admin/tenants/tenant-paying", { method: "PATCH", json: { rateLimit } });
    expect((await ask(key, "tenant-paying", generous)).headers.get("ratelimit-policy")).toBe('"tenant";q=2;w=2');
    expect((await patch(400)).body).toMatchObject({ rateLimit: 400 });
    expect((await ask(key, "tenant-paying", generous)).headers.get("ratelimit")).toBe('"tenant";r=799;t=1');
    expect((await patch(0)).status).toBe(200);
    expect((await ask(key, "tenant-paying", generous)).headers.get("ratelimit")).toBeNull();
    expect((await patch(null)).body).toMatchObject({ rateLimit: null });
    expect((await exhaust(() => ask(key, "tenant-paying", generous))).answered).toBeLessThanOrEqual(10);
    expect((await patch(-1)).status).toBe(400);
  } finally {
    await generous.stop();
  }
});

test("a token bucket fills at its rate up to its burst, and rejected requests do not count", () => {
  const limits = new RateLimits({ token: 10, tenant: 0 }, createGatewayMetrics());
  const take = (nowMs: number) => {
    try {
      return limits.take("key", "tenant", null, nowMs)[3];
    } catch (error) {
      if (error instanceof Problem) return error.code;
      throw error;
    }
  };
  for (let left = 19; left >= 0; left--) expect(take(0)).toMatch(new RegExp(`^"token";r=${left};`));
  expect([take(0), take(99), take(100), take(100)]).toEqual(["RATE_LIMITED", "RATE_LIMITED", '"token";r=0;t=2', "RATE_LIMITED"]);
  expect(take(3_600_000)).toBe('"token";r=19;t=1');
});

test("full token buckets are dropped: a million one-time callers leave nothing behind", () => {
  const limits = new RateLimits({ token: 10, tenant: 10 }, createGatewayMetrics());
  for (let caller = 0; caller < 1_000_000; caller++) limits.take(`key-${caller}`, `tenant-${caller % 100}`, null, caller * 10);
  expect(limits.size).toBeLessThan(5_000);
});
