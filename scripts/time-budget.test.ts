import { generateKeyPairSync } from "node:crypto";
import { readCellConfig } from "@cell/cell";
import { expect, test } from "vitest";
import { crmSettings } from "../cells/crm/src/config.ts";
import { createRegistry } from "../cells/crm/src/testing/registry.ts";
import { readConfig as readGateway } from "../gateway/src/config.ts";

test("by default a statement ends before its query is given up, and that before the gateway gives up on the cell", async () => {
  const keys = { ASSERTION_KEYS: `a:${"A".repeat(43)}`, WEBHOOK_KEYS: `a:${"A".repeat(43)}` };
  const sealKey = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const common = { ...keys, DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" };
  const cell = readCellConfig(crmSettings, { ...common, TENANT_LOGIN_SECRET: "x".repeat(32), SEAL_KEY: sealKey });
  const gateway = readGateway({ ...common, CELLS: "crm=http://127.0.0.1:8001" });
  const { databaseUrl, statementTimeoutMs, tenantLoginSecret: loginSecret } = cell;
  const registry = createRegistry({ databaseUrl, loginSecret, ...cell.connections, statementTimeoutMs });
  const { queryTimeoutMs } = registry.connections;
  await registry.close();
  expect(statementTimeoutMs).toBe(3_000);
  expect(queryTimeoutMs).toBeGreaterThan(statementTimeoutMs);
  expect(gateway.timeouts.headersMs).toBeGreaterThan(queryTimeoutMs);
});
