import { randomBytes } from "node:crypto";
import type { IsolationFixture, IsolationWorld } from "@cell/cell/testing/isolation-world";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { startCrm, type TestCrm } from "./test-crm.ts";

export function pipelineStages(mark: string): object[] {
  return [
    { stage: "new", name: `${mark} new`, type: "open", probability: 10 },
    { stage: "won", name: `${mark} won`, type: "won", probability: 100 },
    { stage: "lost", name: `${mark} lost`, type: "lost", probability: 0 },
  ];
}

/** Creates one record of each kind, and a second one where a list needs a cursor. */
async function populate(client: TestClient, mark: string): Promise<IsolationFixture> {
  const made = async (path: string, body: object): Promise<TestResponse["body"]> => {
    const response = await client.post(path, { body, key: `${mark}-key` });
    if (response.status >= 300) throw new Error(`${path}: ${response.text}`);
    return response.body;
  };
  const word = `word${randomBytes(6).toString("hex")}`;
  const customer = {
    name: `${mark} 1`,
    contactName: word,
    contactPhone: "13800138000",
    contactEmail: `${mark}@example.com`,
    notes: `${mark} ${word}`,
  };
  const { customerId } = await made("/customers", customer);
  await client.post("/customers", { body: { name: `${mark} 2` } });
  const { contactId } = await made("/contacts", { customerId, name: mark, phone: "13900139000" });
  await client.post("/contacts", { body: { customerId, name: `${mark} 2` } });
  const { pipelineId } = await made("/pipelines", { name: mark, stages: pipelineStages(mark) });
  const deal = { customerId, pipelineId, stage: "new", name: `${mark} ${word}`, amount: "1234567.89", currency: "CNY" };
  const { opportunityId } = await made("/opportunities", deal);
  await client.post("/opportunities", { body: { ...deal, name: `${mark} 2` } });
  await client.patch(`/opportunities/${opportunityId}`, { body: { stage: "won" } });
  const contract = { customerId, opportunityId, name: mark, number: mark, amount: "1000.00", status: "active" };
  const { contractId } = await made("/contracts", contract);
  await client.post("/contracts", { body: { customerId, name: `${mark} 2`, amount: "7.00" } });
  const payment = { contractId, amount: "10.00", reference: mark, notes: mark, paidAt: "2026-01-02T00:00:00Z" };
  const { paymentId } = await made("/payments", payment);
  await client.post("/payments", { body: { ...payment, reference: `${mark} 2` } });
  const imported = await client.post("/customers/import", { raw: `name\n${mark} 3\n,\n`, headers: { "content-type": "text/csv" } });
  const webhook = await made("/webhooks", { url: `http://127.0.0.1:18249/${mark}`, events: ["customer.created"], description: mark });
  await client.post(`/webhooks/${webhook.webhookId}/test`);
  const deliveries = await client.get(`/webhooks/${webhook.webhookId}/deliveries`);
  const [entry] = (await client.get("/audit-logs?pageSize=1")).body.data;
  const cursors: Record<string, string> = {};
  for (const path of ["/customers", "/contacts", "/opportunities", "/contracts", "/payments", "/audit-logs"])
    cursors[path] = (await client.get(`${path}?pageSize=1`)).body.nextCursor;
  return {
    mark,
    word,
    cursors,
    requestId: `${mark}-key`,
    ownerId: client.principal.userId,
    ids: {
      "/customers": customerId,
      "/contacts": contactId,
      "/pipelines": pipelineId,
      "/opportunities": opportunityId,
      "/contracts": contractId,
      "/payments": paymentId,
      "/imports": imported.body.importId,
      "/audit-logs": entry.id,
      "/webhooks": webhook.webhookId,
      "{deliveryId}": deliveries.body.data[0].deliveryId,
    },
  };
}

export const isolationWorld: IsolationWorld<TestCrm["services"]> = {
  start: (logins) => startCrm({ logins }),
  populate,
  write: (mark) => ({ path: "/customers", body: { name: mark } }),
  looks: (ids) => [
    "/customers",
    "/contacts",
    "/opportunities",
    "/contracts",
    "/payments",
    "/pipelines",
    "/metrics",
    "/pipeline/summary",
    "/pipeline/funnel",
    "/reports/funnel",
    "/opportunities/forecast",
    "/audit-logs?action=create",
    "/customers/export",
    "/opportunities/export",
    `/customers/${ids["/customers"]}/360`,
    "/settings",
    "/webhooks",
  ],
  sharedLogin: "crm_shared",
  leastStatements: 30,
  formalParameters: ["include", "groupBy", "mode", "period", "currency", "asOf"],
  collections: { enteredPipelineId: "/pipelines", sourceIds: "/customers", resourceId: "/customers" },
  sample: { stage: "new" },
  // The webhooks that it sends belong to no request, and change the other tenant's tables.
  settle: (cell) => (cell as TestCrm).dispatcher.stop(),
};
