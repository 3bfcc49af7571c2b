import { sendRaw } from "@cell/http/testing/raw";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../testing/gateway.ts";

let cell: TestCell;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`);
  ({ key } = await createTenant(gateway, "tenant-a"));
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const ask = (upgrade: string) =>
  sendRaw(
    gateway.url,
    `GET /api/v1/crm/customers HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n` +
      `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
  );

test.each(["websocket", "WebSocket", "h2c, websocket"])(
  "Upgrade: %s is rejected in the usual error form and reaches no cell",
  async (upgrade) => {
    const before = cell.requests.length;
    const response = await ask(upgrade);
    expect(response).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(response.slice(response.indexOf("\r\n\r\n")))).toMatchObject({
      code: "BAD_REQUEST",
      details: { fields: [{ path: "Upgrade", code: "NOT_SUPPORTED" }] },
    });
    expect(cell.requests.length).toBe(before);
  },
);

test("an upgrade offer to another protocol, which some clients send with every first request, is ignored", async () => {
  expect(await ask("h2c")).toMatch(/^HTTP\/1\.1 200 /);
  expect(cell.requests.at(-1)?.headers.upgrade).toBeUndefined();
});
