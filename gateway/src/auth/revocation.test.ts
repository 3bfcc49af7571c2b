import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { takeClock } from "../testing/clock.ts";
import { type DatabaseSwitch, startDatabaseSwitch } from "../testing/database-switch.ts";
import { createDatabase, createTenant, type IssuedKey, issueKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { audience, startIdentityProvider, type TestIdentityProvider } from "../testing/identity-provider.ts";

let cell: TestCell;
let provider: TestIdentityProvider;
let database: DatabaseSwitch;
/** The gateway where changes are made, and another process. */
let here: TestGateway;
let there: TestGateway;
let key: IssuedKey;
let token: string;

beforeAll(async () => {
  cell = await startTestCell();
  provider = await startIdentityProvider();
  const databaseUrl = await createDatabase();
  database = await startDatabaseSwitch(databaseUrl);
  const oidc = { OIDC_ISSUER: provider.issuer, OIDC_AUDIENCE: audience, OIDC_ALLOW_LOOPBACK: "1" };
  here = await startTestGateway(databaseUrl, `crm=${cell.url}`, oidc);
  there = await startTestGateway(database.url, `crm=${cell.url}`, oidc);
});

afterAll(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await Promise.all([cell.close(), provider.close()]);
  database.close();
});

beforeEach(async () => {
  key = await createTenant(here, "tenant-a");
  token = await provider.token();
  for (const known of [key.key, token]) for (const gateway of [here, there]) expect(await statusOf(gateway, known)).toBe(200);
});

async function statusOf(gateway: TestGateway, key: string): Promise<number> {
  return (await gateway.call("/api/v1/crm/customers", { key, tenantId: "tenant-a" })).status;
}

/** Another process has to notice a change within five seconds. */
const within5Seconds = { timeout: 5_000, interval: 50 };

const suspend = (status: string) => here.call("/api/admin/tenants/tenant-a", { method: "PATCH", json: { status } });

test("a key revoked at one gateway is rejected by every other within 5 seconds; access tokens are not affected", async () => {
  const other = await issueKey(here, { tenantId: "tenant-a" });
  expect(await statusOf(there, other.key)).toBe(200);
  expect((await here.call(`/api/admin/keys/${key.keyId}`, { method: "DELETE" })).status).toBe(200);
  expect(await statusOf(here, key.key)).toBe(401);
  await expect.poll(() => statusOf(there, key.key), within5Seconds).toBe(401);
  expect(await statusOf(there, other.key)).toBe(200);
  expect(await statusOf(there, token)).toBe(200);
});

test("a suspended tenant's keys and access tokens are rejected everywhere within 5 seconds, and accepted again when it is resumed", async () => {
  await suspend("suspended");
  for (const known of [key.key, token]) {
    expect(await statusOf(here, known)).toBe(403);
    await expect.poll(() => statusOf(there, known), within5Seconds).toBe(403);
  }
  await suspend("active");
  for (const known of [key.key, token]) await expect.poll(() => statusOf(there, known), within5Seconds).toBe(200);
});

test("a rotated key expires everywhere within 5 seconds after its grace period, and the new one works immediately", async () => {
  const rotated = await here.call<IssuedKey>(`/api/admin/keys/${key.keyId}/rotate`, { json: { graceSeconds: 1 } });
  expect(await statusOf(there, rotated.body.key)).toBe(200);
  for (const gateway of [here, there]) await expect.poll(() => statusOf(gateway, key.key), within5Seconds).toBe(401);
  expect(await statusOf(there, rotated.body.key)).toBe(200);
});

test("without its database a gateway uses its cache for at most a minute, and at least for half of one", async () => {
  const advance = takeClock();
  const expectThere = async (status: number) => {
    for (const known of [key.key, token]) expect(await statusOf(there, known)).toBe(status);
  };
  try {
    // The change that created the key has been noticed.
    await sleep(1_200);
    await expectThere(200);
    // A cached access of this age is used once more, and renewed meanwhile.
    advance(31_000);
    await expectThere(200);
    await sleep(300);
    database.cut();
    await sleep(100);
    await expectThere(200);
    advance(58_000);
    await expectThere(200);
    advance(3_000);
    await expectThere(503);
    database.mend();
    for (const known of [key.key, token]) await expect.poll(() => statusOf(there, known), within5Seconds).toBe(200);
  } finally {
    vi.restoreAllMocks();
    database.mend();
  }
});
