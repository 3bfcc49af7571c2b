import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { takeClock } from "../testing/clock.ts";
import { type DatabaseSwitch, startDatabaseSwitch } from "../testing/database-switch.ts";
import { createDatabase, createTenant, issueKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";

const burst = 5;
const operator = "10.0.0.1";

let cell: TestCell;
let gateway: TestGateway;
let database: DatabaseSwitch;
let nextClient = 1;

beforeAll(async () => {
  cell = await startTestCell();
  database = await startDatabaseSwitch(await createDatabase());
  gateway = await startTestGateway(database.url, `crm=${cell.url}`, {
    TRUSTED_PROXIES: "127.0.0.1",
    FAILED_ATTEMPTS_BURST: String(burst),
    FAILED_ATTEMPTS_PER_MINUTE: "60",
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  database.mend();
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
  database.close();
});

/** Clients have different addresses, as a trusted proxy reports them. */
const newClient = () => `203.0.113.${nextClient++}`;
const newKey = () => `crm_live_${randomBytes(24).toString("base64url")}`;

function get(key: string, client: string, path = "/api/v1/crm/customers") {
  return gateway.call<{ code: string }>(path, { key, tenantId: "tenant-a", headers: { "x-forwarded-for": client } });
}

async function useUp(client: string): Promise<void> {
  for (let attempt = 0; attempt < burst; attempt++) expect((await get(newKey(), client)).status).toBe(401);
}

/** Waits until this gateway has seen the revision of the tests' last change. */
const settle = () => sleep(1_200);

test("after too many failures an address is rejected with Retry-After, on every path that takes a token", async () => {
  const client = newClient();
  await useUp(client);
  const refused = await get(newKey(), client);
  expect([refused.status, refused.body.code]).toEqual([429, "RATE_LIMITED"]);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  const admin = await get(newKey(), client, "/api/admin/keys");
  expect([admin.status, admin.body.code]).toEqual([429, "RATE_LIMITED"]);
  expect((await get(newKey(), newClient())).status).toBe(401);
});

test("failed attempts decay: after Retry-After, the next attempt is checked", async () => {
  const advance = takeClock();
  const client = newClient();
  await useUp(client);
  const refused = await get(newKey(), client);
  advance(Number(refused.headers.get("retry-after")) * 1_000);
  expect((await get(newKey(), client)).status).toBe(401);
  expect((await get(newKey(), client)).status).toBe(429);
});

test("a key that was valid before still works from a blocked address, also after a change of the control plane", async () => {
  const client = newClient();
  const { key } = await createTenant(gateway, "tenant-a");
  const late = await issueKey(gateway, { tenantId: "tenant-a" });
  expect((await get(key, client)).status).toBe(200);
  await useUp(client);
  expect((await get(late.key, client)).status).toBe(429);
  expect((await get(key, client)).status).toBe(200);
  await createTenant(gateway, "tenant-other");
  await settle();
  await expect.poll(async () => (await get(newKey(), client)).status).toBe(429);
  expect((await get(key, client)).status).toBe(200);
  expect((await get(late.key, newClient())).status).toBe(200);
});

test("a request without a token is not a failed attempt", async () => {
  const client = newClient();
  for (let attempt = 0; attempt < 2 * burst; attempt++) expect((await get("", client)).status).toBe(401);
  expect((await get(newKey(), client)).status).toBe(401);
});

test("concurrent failed attempts are all counted", async () => {
  const client = newClient();
  await Promise.all(Array.from({ length: 4 * burst }, () => get(newKey(), client)));
  expect((await get(newKey(), client)).status).toBe(429);
});

test("a recently rejected token, a malformed one, and one from a blocked address cause no database query", async () => {
  const [client, limited] = [newClient(), newClient()];
  const wrong = newKey();
  await settle();
  expect((await get(wrong, client)).status).toBe(401);
  await useUp(limited);
  database.cut();
  await sleep(100);
  expect((await get(newKey(), newClient())).status).toBe(503);
  expect((await get(wrong, client)).status).toBe(401);
  for (const formless of ["x", "crm_live_short", `crm_LIVE_${"A".repeat(32)}`, `${newKey()}A`, "a.b.c", "x".repeat(8_000)])
    expect((await get(formless, newClient())).status).toBe(401);
  expect((await get(newKey(), limited)).status).toBe(429);
});

test("a wait for the database is not a failed attempt", async () => {
  const client = newClient();
  database.cut();
  await sleep(100);
  for (let attempt = 0; attempt < 2 * burst; attempt++) expect((await get(newKey(), client)).status).toBe(503);
  database.mend();
  await settle();
  expect((await get(newKey(), client)).status).toBe(401);
});

test("the operator's key may have any form", async () => {
  const response = await gateway.call("/api/admin/tenants", { headers: { "x-forwarded-for": operator } });
  expect(response.status).toBe(200);
});
