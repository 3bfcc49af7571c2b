import { schemaValidator } from "@cell/http/testing/response-checker";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCrm, type TestCrm } from "../testing/test-crm.ts";
import { webhooks } from "./event-catalogue.ts";
import { type Receiver, startReceiver } from "./testing/receiver.ts";

let cell: TestCrm;
let receiver: Receiver;

beforeAll(async () => {
  cell = await startCrm();
  receiver = await startReceiver();
});
afterAll(async () => {
  await receiver.stop();
  await cell.stop();
});

test("the document has a webhook for each event, and each that is delivered fits it", async () => {
  const { document } = cell;
  const published = Object.keys(document.webhooks ?? {});
  expect(published.sort()).toEqual([...webhooks.deliveredTypes].sort());

  const admin = cell.client(await cell.tenant());
  const made = async (path: string, body: object, method = "POST") => {
    const response = await admin.send(method, path, { body });
    expect(response.status, response.text).toBeLessThan(300);
    return response.body;
  };
  const { webhookId } = await made("/webhooks", { url: receiver.url, events: ["*"] });
  await made(`/webhooks/${webhookId}/test`, {});
  const { customerId } = await made("/customers", { name: "Receiver", contactPhone: "13800138000" });
  const { customerId: other } = await made("/customers", { name: "Other" });
  await made(`/customers/${customerId}`, { status: "active" }, "PATCH");
  await made(`/customers/${customerId}`, {}, "DELETE");
  await made(`/customers/${customerId}/restore`, {});
  await made(`/customers/${customerId}/merge`, { sourceIds: [other] });
  const { contactId } = await made("/contacts", { customerId, name: "Person", phone: "13800138000" });
  await made(`/contacts/${contactId}`, { title: "Buyer" }, "PATCH");
  await made(`/contacts/${contactId}`, {}, "DELETE");
  const stages = ["open", "won", "lost"].map((type) => ({ stage: type, type, ...(type === "open" ? { probability: 50 } : {}) }));
  const { pipelineId } = await made("/pipelines", { name: "Partners", stages });
  await made(`/pipelines/${pipelineId}`, { name: "Partner sales" }, "PATCH");
  const deal = async () => (await made("/opportunities", { customerId, name: "Deal", amount: "100", pipelineId })).opportunityId;
  const [won, lost] = [await deal(), await deal()];
  await made(`/opportunities/${won}`, { stage: "won" }, "PATCH");
  await made(`/opportunities/${lost}`, { stage: "lost", lostReason: "price" }, "PATCH");
  await made(`/opportunities/${lost}`, {}, "DELETE");
  const { contractId } = await made("/contracts", { customerId, name: "Contract", amount: "100", status: "active" });
  const { paymentId } = await made("/payments", { contractId, amount: "10", paidAt: "2026-01-31" });
  await made(`/payments/${paymentId}/void`, {});
  const { contractId: empty } = await made("/contracts", { customerId, name: "Empty", amount: "100" });
  await made(`/contracts/${empty}`, { name: "Still empty" }, "PATCH");
  await made(`/contracts/${empty}`, {}, "DELETE");
  const { importId } = await made("/customers/import", { items: [{ name: "Imported" }] });
  await made(`/imports/${importId}/revert`, {});
  await made("/settings", { stuckAfterDays: 10 }, "PATCH");

  const received = () => [...new Set(receiver.received.map(({ json }) => json.type))].sort();
  await expect.poll(received, { timeout: 20_000 }).toEqual(published);
  const validate = schemaValidator(document);
  for (const { json, headers } of receiver.received) {
    const operation = document.webhooks?.[json.type]?.post;
    const fault = validate(["webhooks", json.type, "post", "requestBody", "content", "application/json", "schema"], json);
    expect(fault, JSON.stringify(json)).toBeUndefined();
    for (const parameter of operation?.parameters ?? []) expect(headers).toHaveProperty((parameter as { name: string }).name);
  }
});
