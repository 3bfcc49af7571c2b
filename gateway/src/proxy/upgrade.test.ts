import { sendRaw } from "@cell/http/testing/raw";
import { expect, test } from "vitest";
import type { TestCell } from "../testing/cell.ts";
import { createTenant, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let cell: TestCell;
let gateway: TestGateway;
let key: string;

gatewayPerFile(async (given) => {
  ({ gateway, cell } = given);
  ({ key } = await createTenant(gateway, "tenant-a"));
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
