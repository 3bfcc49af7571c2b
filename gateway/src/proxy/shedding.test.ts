import { setTimeout as sleep } from "node:timers/promises";
import { sendRaw } from "@cell/http/testing/raw";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { reply, startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, metricsToken, readMetric, startTestGateway, type TestGateway } from "../testing/gateway.ts";

const tenants = ["tenant-a", "tenant-b", "tenant-c", "tenant-d", "tenant-e"] as const;
type TenantId = (typeof tenants)[number];

let cell: TestCell;
let gateway: TestGateway;
let database: string;
const keys = {} as Record<TenantId, string>;
let release = Promise.withResolvers<void>();
let held = 0;

beforeAll(async () => {
  cell = await startTestCell();
  const bulkheads = { UPSTREAM_REQUESTS: "16", UPSTREAM_STREAMS: "8" };
  database = await createDatabase();
  gateway = await startTestGateway(database, `crm=${cell.url}`, bulkheads);
  for (const tenantId of tenants) keys[tenantId] = (await createTenant(gateway, tenantId)).key;
  for (const path of ["/slow", "/customers/export"]) {
    cell.on(path, async (_incoming, outgoing) => {
      held++;
      await release.promise;
      reply(outgoing, 200, {});
    });
  }
});

beforeEach(() => {
  release = Promise.withResolvers<void>();
  held = 0;
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const ask = (tenantId: TenantId, path = "/customers") => gateway.call(`/api/v1/crm${path}`, { key: keys[tenantId], tenantId });
const sheds = (reason: string) => readMetric(gateway, `gateway_shed_total{partition="crm-1",reason="${reason}"}`);

/** Makes the cell hold `taken` requests, and sends further ones that are rejected immediately. */
async function flood(tenantId: TenantId, count: number, taken: number, path = "/slow") {
  const before = held;
  const responses = Array.from({ length: count }, () => ask(tenantId, path));
  while (held < before + taken) await sleep(5);
  return responses;
}

test("a tenant that floods is limited to its quota with an explanation; another one still gets its responses", async () => {
  const before = await sheds("tenant");
  const flooding = await flood("tenant-a", 40, 4);
  for (let round = 0; round < 20; round++) expect((await ask("tenant-b")).status).toBe(200);
  release.resolve();
  const responses = await Promise.all(flooding);
  const refused = responses.filter(({ status }) => status === 503);
  expect([responses.filter(({ status }) => status === 200).length, refused.length]).toEqual([4, 36]);
  expect(refused[0]?.body).toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringContaining("This tenant already has 4 running requests"),
  });
  expect(refused[0]?.headers.get("retry-after")).toBe("1");
  expect(await sheds("tenant")).toBe(before + 36);
  expect((await ask("tenant-a")).status).toBe(200);
});

test("exports have their own bulkhead: a tenant that has used its quota can still read, and others still export", async () => {
  const exports = await flood("tenant-a", 5, 2, "/customers/export");
  expect((await ask("tenant-a")).status).toBe(200);
  const other = await flood("tenant-b", 1, 1, "/customers/export");
  release.resolve();
  expect((await Promise.all(exports)).map(({ status }) => status).sort()).toEqual([200, 200, 503, 503, 503]);
  expect((await Promise.all(other)).map(({ status }) => status)).toEqual([200]);
});

test("a full bulkhead rejects requests unread, except health and administration, and admits them as soon as it can", async () => {
  const before = await sheds("partition");
  const floods = await Promise.all(tenants.slice(0, 4).map((tenantId) => flood(tenantId, 4, 1)));
  while (held < 16) await sleep(5);
  const refused = await ask("tenant-e");
  expect([refused.status, refused.body.code]).toEqual([503, "UNAVAILABLE"]);
  const unread = await sendRaw(
    gateway.url,
    `POST /api/v1/crm/customers HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${keys["tenant-e"]}\r\nX-Tenant-Id: tenant-e\r\n` +
      "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
  );
  expect(unread).toMatch(/^HTTP\/1\.1 503 /);
  expect(await sheds("partition")).toBe(before + 2);
  for (const path of ["/health", "/ready", "/metrics"]) expect((await gateway.call(path, { key: metricsToken })).status).toBe(200);
  expect((await gateway.call("/api/admin/tenants")).status).toBe(200);

  release.resolve();
  expect((await Promise.all(floods.flat())).map(({ status }) => status)).toEqual(Array(16).fill(200));
  const afterwards = await Promise.all(tenants.flatMap((tenantId) => [1, 2, 3].map(() => ask(tenantId))));
  expect(new Set(afterwards.map(({ status }) => status))).toEqual(new Set([200]));
});

test("callers that leave free their place in the bulkhead", async () => {
  for (let round = 0; round < 10; round++) {
    const leaving = new AbortController();
    const headers = { authorization: `Bearer ${keys["tenant-a"]}`, "x-tenant-id": "tenant-a" };
    const url = `${gateway.url}/api/v1/crm/slow`;
    const before = held;
    const left = Array.from({ length: 4 }, () => fetch(url, { headers, signal: leaving.signal }).catch((error: Error) => error.name));
    while (held < before + 4) await sleep(5);
    leaving.abort();
    expect(await Promise.all(left)).toEqual(Array(4).fill("AbortError"));
    while ((await readMetric(gateway, "http_requests_running")) > 1) await sleep(5);
  }
  expect((await ask("tenant-a")).status).toBe(200);
  release.resolve();
});

test("while another tenant is active, one that floods has two concurrent requests; the others follow in order, except those whose caller has left", async () => {
  const fair = await startTestGateway(database, `crm=${cell.url}`, { UPSTREAM_TENANT_CONCURRENCY: "2" });
  try {
    const call = (tenantId: TenantId, path: string) => fair.call(`/api/v1/crm${path}`, { key: keys[tenantId], tenantId });
    expect((await call("tenant-b", "/customers")).status).toBe(200);
    const leaving = new AbortController();
    const headers = { authorization: `Bearer ${keys["tenant-a"]}`, "x-tenant-id": "tenant-a" };
    const flooding = [1, 2].map(() => call("tenant-a", "/slow"));
    while (held < 2) await sleep(5);
    const left = fetch(`${fair.url}/api/v1/crm/slow`, { headers, signal: leaving.signal }).catch((error: Error) => error.name);
    while ((await readMetric(fair, 'gateway_waited_total{partition="crm-1"}')) < 1) await sleep(5);
    flooding.push(...[3, 4].map(() => call("tenant-a", "/slow")));
    while ((await readMetric(fair, 'gateway_waited_total{partition="crm-1"}')) < 3) await sleep(5);
    leaving.abort();
    expect(await left).toBe("AbortError");
    expect((await call("tenant-b", "/customers")).status).toBe(200);
    expect(held).toBe(2);
    release.resolve();
    expect((await Promise.all(flooding)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(held).toBe(4);
  } finally {
    await fair.stop();
  }
});
