import { randomBytes } from "node:crypto";
import { parseAssertionKeys } from "@cell/http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../testing/gateway.ts";

const secret = () => randomBytes(32).toString("base64url");
const [oldKey, newKey] = [`old:${secret()}`, `new:${secret()}`];

let cell: TestCell;
let gateway: TestGateway;
let databaseUrl: string;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  cell.keys = parseAssertionKeys(oldKey);
  databaseUrl = await createDatabase();
  gateway = await startGateway(oldKey);
  ({ key } = await createTenant(gateway, "tenant-a"));
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

/** A gateway that stays reachable for a moment while it stops, as behind a load balancer. */
const startGateway = (keys: string) =>
  startTestGateway(databaseUrl, `crm=${cell.url}`, {
    ASSERTION_KEYS: keys,
    DRAIN_DELAY_MS: "300",
    RATE_LIMIT_TOKEN: "0",
    RATE_LIMIT_TENANT: "0",
  });

/** Replaces the gateway as a rolling restart does: the next one takes requests before the last one has finished its own. */
async function replaceGateway(keys: string): Promise<void> {
  const last = gateway;
  gateway = await startGateway(keys);
  await last.stop();
}

/** Clients that send requests continuously until they are stopped, which resolves to the counts by status. */
function startClients(count: number) {
  const statuses = new Map<number, number>();
  let isStopped = false;
  async function run(): Promise<void> {
    while (!isStopped) {
      const { status } = await gateway.call("/api/v1/crm/customers", { key, tenantId: "tenant-a" });
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  }
  const clients = Array.from({ length: count }, run);
  return async () => {
    isStopped = true;
    await Promise.all(clients);
    return statuses;
  };
}

/** Waits until the clients have made this many more requests. */
const served = (count: number) => {
  const wanted = cell.requests.length + count;
  return expect.poll(() => cell.requests.length, { timeout: 10_000, interval: 5 }).toBeGreaterThan(wanted);
};

test("the assertion key is rotated step by step under load, and no request fails", async () => {
  const stop = startClients(8);
  await served(100);
  cell.keys = parseAssertionKeys(`${oldKey},${newKey}`);
  await served(100);
  await replaceGateway(`${newKey},${oldKey}`);
  await served(100);
  cell.keys = parseAssertionKeys(newKey);
  await served(100);
  await replaceGateway(newKey);
  await served(100);
  const statuses = await stop();
  expect([...statuses.keys()]).toEqual([200]);
  const signedBy = new Set(cell.requests.map(({ headers }) => String(headers["x-cell-assertion"]).split(".")[0]));
  expect(signedBy).toEqual(new Set(["old", "new"]));
});

test("after the rotation the old assertion key is rejected", async () => {
  await replaceGateway(oldKey);
  const response = await gateway.call("/api/v1/crm/customers", { key, tenantId: "tenant-a" });
  expect(response.status).toBe(401);
});
