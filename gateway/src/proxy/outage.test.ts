import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { type DatabaseSwitch, startDatabaseSwitch } from "../testing/database-switch.ts";
import { createDatabase, createTenant, issueKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";

let cell: TestCell;
let gateway: TestGateway;
let database: DatabaseSwitch;

beforeAll(async () => {
  cell = await startTestCell();
  database = await startDatabaseSwitch(await createDatabase());
  gateway = await startTestGateway(database.url, `crm=${cell.url}`);
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
  database.close();
});

test("without the control plane, known keys still work, others are 503, and afterwards everything works", async () => {
  const known = await createTenant(gateway, "tenant-a");
  const unused = await issueKey(gateway, { tenantId: "tenant-a" });
  const get = (key: string) => gateway.call("/api/v1/crm/customers", { key, tenantId: "tenant-a" });
  expect((await get(known.key)).status).toBe(200);
  // Issuing the second key raised the revision: wait until it has been noticed.
  await sleep(1_200);
  expect((await get(known.key)).status).toBe(200);

  database.cut();
  await sleep(100);
  expect((await get(known.key)).status).toBe(200);
  const refused = await get(unused.key);
  expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
  expect((await gateway.call("/api/admin/tenants")).status).toBe(503);
  await sleep(3_500);
  const ready = await gateway.call("/ready", { key: "" });
  expect(ready.body).toMatchObject({ code: "UNAVAILABLE", details: { checks: { database: "away" } } });
  expect((await gateway.call("/health", { key: "" })).status).toBe(200);
  expect((await get(known.key)).status).toBe(200);

  database.mend();
  await sleep(1_500);
  expect((await gateway.call("/ready", { key: "" })).status).toBe(200);
  expect((await get(unused.key)).status).toBe(200);
});

test("a gateway started without the control plane becomes ready when it is back", async () => {
  database.cut();
  const late = await startTestGateway(database.url, `crm=${cell.url}`);
  try {
    expect((await late.call("/ready", { key: "" })).status).toBe(503);
    database.mend();
    await sleep(2_500);
    expect((await late.call("/ready", { key: "" })).status).toBe(200);
  } finally {
    await late.stop();
  }
});
