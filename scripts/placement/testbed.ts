import { testAssertionKeys } from "@cell/cell/testing/test-cell";
import { startTestServer, type TestServer } from "@cell/postgres/testing/server";

import { startCrm, type TestCrm } from "../../cells/crm/src/testing/test-crm.ts";
import type { MoveResponse } from "../../gateway/src/admin/moves/schema.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../../gateway/src/testing/gateway.ts";

/** The keys of the test cells, in the gateway's form. */
const assertionKeys = `${testAssertionKeys[0].id}:${Buffer.alloc(32, 7).toString("base64url")}`;
const settings = { ASSERTION_KEYS: assertionKeys, RATE_LIMIT_TOKEN: "0", RATE_LIMIT_TENANT: "0", UPSTREAM_TENANT_PERCENT: "100" };

/** Two CRM partitions, each with its own PostgreSQL, behind gateways that share a control plane. */
export interface Testbed {
  /** crm-1 on the test run's server, crm-2 on `second`. */
  cells: [TestCrm, TestCrm];
  second: TestServer;
  gateways: TestGateway[];
  controlPlane: string;
  /** Another gateway on the same control plane. */
  gateway(): Promise<TestGateway>;
  stop(): Promise<void>;
}

/** `port`: the first one to try for the second PostgreSQL. */
export async function startTestbed(port: number): Promise<Testbed> {
  const second = await startTestServer(port);
  const cells = [await startCrm(), await startCrm({ databaseUrl: second.url })] as [TestCrm, TestCrm];
  for (const { sealer } of cells) sealer.start();
  const controlPlane = await createDatabase();
  const addresses = cells.map(({ url }) => `crm=${url}`).join(",");
  const gateways: TestGateway[] = [];
  const gateway = async () => {
    const started = await startTestGateway(controlPlane, addresses, settings);
    gateways.push(started);
    return started;
  };
  await gateway();
  await gateway();
  return {
    cells,
    second,
    gateways,
    controlPlane,
    gateway,
    async stop() {
      await Promise.all(gateways.map((one) => one.stop()));
      for (const cell of cells) {
        await cell.sealer.stop();
        await cell.stop();
      }
      await second.stop();
    },
  };
}

/** A gateway with another control plane and only these cells. */
export async function gatewayOf(...cells: TestCrm[]): Promise<TestGateway> {
  const addresses = cells.map(({ url }) => `crm=${url}`).join(",");
  return startTestGateway(await createDatabase(), addresses, settings);
}

export interface ReceivedResponse {
  status: number;
  replayed: boolean;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read responses of many shapes.
  body: any;
}

/** One request to the CRM through a gateway; status 0 without a response. */
export async function ask(
  gateway: TestGateway,
  key: string,
  tenantId: string,
  path: string,
  init: AskInit = {},
): Promise<ReceivedResponse> {
  const headers: Record<string, string> = { authorization: `Bearer ${key}`, "x-tenant-id": tenantId };
  if (init.requestId) headers["x-request-id"] = init.requestId;
  if (init.body) headers["content-type"] = "application/json";
  const method = init.method ?? (init.body ? "POST" : "GET");
  try {
    const response = await fetch(`${gateway.url}/api/v1/crm${path}`, {
      method,
      headers,
      ...(init.body ? { body: JSON.stringify(init.body) } : {}),
    });
    const text = await response.text();
    return { status: response.status, replayed: response.headers.get("idempotency-replayed") === "true", text, body: JSON.parse(text) };
  } catch (error) {
    return { status: 0, replayed: false, text: String(error), body: {} };
  }
}

export interface AskInit {
  method?: string;
  requestId?: string;
  body?: object;
}

/** A tenant on crm-1 with an administrator's key. */
export async function newTenant({ gateways: [gateway] }: Testbed, tenantId: string): Promise<string> {
  if (!gateway) throw new Error("There is no gateway");
  const { key } = await createTenant(gateway, tenantId);
  const { placements } = (await gateway.call<{ placements: { partition: string }[] }>(`/api/admin/tenants/${tenantId}`)).body;
  if (placements[0]?.partition !== "crm-1") await moveTo(gateway, tenantId, "crm-1");
  return key;
}

/** Moves a tenant; resolves to the end of the move, whatever its result. */
export async function moveTo(gateway: TestGateway, tenantId: string, to: string): Promise<MoveResponse> {
  const started = await gateway.call<MoveResponse>(`/api/admin/tenants/${tenantId}/move`, { json: { to } });
  if (started.status !== 202) throw new Error(`no move: ${started.text}`);
  return endOf(gateway, started.body.moveId);
}

export async function endOf(gateway: TestGateway, moveId: number): Promise<MoveResponse> {
  for (;;) {
    const { body } = await gateway.call<MoveResponse>(`/api/admin/moves/${moveId}`);
    if (body.state === "done" || body.state === "failed") return body;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
