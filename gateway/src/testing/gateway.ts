import { randomBytes } from "node:crypto";
import { createLogger } from "@cell/http";
import { createTestDatabase } from "@cell/postgres/testing/server";
import { inject } from "vitest";
import { readConfig } from "../config.ts";
import type { GatewayExtensions } from "../extensions.ts";
import { type Gateway, startGateway } from "../gateway.ts";
import { migrateGateway } from "../migrate.ts";
import { assertionKeys } from "./cell.ts";
import { expectConformance } from "./conformance.ts";

/** The metrics token of test gateways. */
export const metricsToken = "metrics-token-for-the-tests-only";
export const operatorKey = "operator-key-for-the-tests-only";

/** A new database with the control plane's schema; its URL, as the gateway's role. */
export async function createDatabase(): Promise<string> {
  const { gateway } = await createTestDatabase(inject("superuserUrl"), `gateway_${randomBytes(6).toString("hex")}`);
  await migrateGateway(gateway);
  return gateway;
}

export interface TestGateway extends Gateway {
  /** A request with the operator's key unless `init` has another; its response is checked against the document. */
  call<T = Record<string, unknown>>(path: string, init?: CallInit): Promise<ReceivedResponse<T>>;
}

export interface CallInit {
  method?: string;
  /** Empty for none. */
  key?: string;
  tenantId?: string;
  headers?: Record<string, string>;
  json?: unknown;
}

export interface ReceivedResponse<T> {
  status: number;
  headers: Headers;
  /** The JSON, or `{}` if there is none. */
  body: T;
  text: string;
}

/** Tests send faster than people; tests of the limits set their own. */
const noRateLimits = { RATE_LIMIT_TOKEN: "0", RATE_LIMIT_TENANT: "0" };

/** A gateway in this process, on its own port. */
export async function startTestGateway(
  databaseUrl: string,
  cells: string,
  env: Record<string, string> = {},
  extensions: GatewayExtensions = {},
): Promise<TestGateway> {
  const settings = {
    PORT: "0",
    DATABASE_URL: databaseUrl,
    ASSERTION_KEYS: assertionKeys,
    OPERATOR_KEY: operatorKey,
    METRICS_TOKEN: metricsToken,
    CELLS: cells,
    ...noRateLimits,
    ...env,
  };
  const config = readConfig(settings);
  const server = await startGateway(config, createLogger("gateway", "silent"), extensions);
  return Object.assign(server, { call: <T>(path: string, init?: CallInit) => call<T>(server.url, path, init) });
}

async function call<T>(gateway: string, path: string, init: CallInit = {}): Promise<ReceivedResponse<T>> {
  const { key = operatorKey, tenantId, headers = {}, json } = init;
  const method = init.method ?? (json === undefined ? "GET" : "POST");
  const sent: Record<string, string> = { ...headers };
  if (key !== "") sent.authorization = `Bearer ${key}`;
  if (tenantId) sent["x-tenant-id"] = tenantId;
  if (json !== undefined) sent["content-type"] = "application/json";
  const response = await fetch(gateway + path, { method, headers: sent, ...(json === undefined ? {} : { body: JSON.stringify(json) }) });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
  const body = isJson && text !== "" ? JSON.parse(text) : {};
  expectConformance(method, response, body);
  return { status: response.status, headers: response.headers, text, body };
}

export interface IssuedKey {
  keyId: string;
  key: string;
}

/** A tenant and a key in it. */
export async function createTenant(gateway: TestGateway, tenantId: string, key: Record<string, unknown> = {}): Promise<IssuedKey> {
  const created = await gateway.call("/api/admin/tenants", { json: { tenantId, name: tenantId } });
  if (created.status !== 201 && created.status !== 409) throw new Error(`no tenant: ${created.text}`);
  return issueKey(gateway, { tenantId, ...key });
}

/** A key with the given rights; default: an administrator's. */
export async function issueKey(gateway: TestGateway, key: Record<string, unknown>): Promise<IssuedKey> {
  const issued = await gateway.call<IssuedKey>("/api/admin/keys", { json: { userId: "user-001", role: "admin", ...key } });
  if (issued.status !== 201) throw new Error(`no key: ${issued.text}`);
  return issued.body;
}

/** The value of a gateway metric, written as in Prometheus: `name{label="value"}`; 0 if it was never counted. */
export async function readMetric(gateway: TestGateway, metric: string): Promise<number> {
  const { text } = await gateway.call("/metrics", { key: metricsToken });
  const line = text.split("\n").find((one) => one.startsWith(`${metric} `));
  return line === undefined ? 0 : Number(line.slice(metric.length + 1));
}
