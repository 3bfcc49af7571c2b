import { describeMalformed } from "@cell/http/testing/malformed";
import { afterAll } from "vitest";
import { startTestCell, type TestCell } from "./testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "./testing/gateway.ts";

let cell: TestCell;
let gateway: TestGateway;

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

describeMalformed(async () => {
  cell = await startTestCell();
  gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`);
  const { key } = await createTenant(gateway, "tenant-a");
  return {
    url: gateway.url,
    path: "/api/v1/crm/customers",
    identity: () => `Authorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\nX-Request-ID: mine\r\n`,
    hiddenRuns: async () => cell.requests.filter(({ url }) => url === "/customers/" || url.includes("hidden")).length,
  };
});
