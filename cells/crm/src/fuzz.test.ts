import { describeFuzz } from "@cell/cell/testing/fuzz";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import type { Known } from "@cell/http/testing/fuzz";
import { expect } from "vitest";
import { crmDocument } from "./openapi.ts";
import { startCrm } from "./testing/test-crm.ts";

describeFuzz(await crmDocument(), { start: () => startCrm(), furnish, settle, assertUnchanged });

/** Records of each kind, and what lists say of them. */
async function furnish(client: TestClient, known: Known): Promise<void> {
  const made = async (path: string, body: object) => {
    const response = await client.post(path, { body });
    expect(response.status, response.text).toBeLessThan(300);
    return response.body;
  };
  for (const name of ["First", "第二"]) {
    const { customerId } = await made("/customers", { name, contactPhone: "13800138000", tags: ["vip"], customFields: { region: "east" } });
    await made("/contacts", { customerId, name });
    known.add("sourceId", customerId);
    const { opportunityId } = await made("/opportunities", { customerId, name, amount: "1000", expectedCloseDate: "2026-03-31" });
    const { contractId } = await made("/contracts", { customerId, opportunityId, name, amount: "1000000", status: "active" });
    await made("/payments", { contractId, amount: "10.50", paidAt: "2026-01-31" });
  }
  await made("/customers/import", { items: [{ name: "Imported" }, { nonsense: 1 }] });
  const lists = ["customers", "contacts", "opportunities", "contracts", "payments", "pipelines", "audit-logs"];
  for (const list of lists) known.learn((await client.get(`/${list}?pageSize=1`)).body);
  const { data } = (await client.get("/audit-logs?resourceType=import")).body;
  for (const { resourceId } of data) known.add("importId", resourceId);
}

/** Waits for an import that goes on in the background. */
async function settle(response: TestResponse, admin: TestClient): Promise<void> {
  for (let waits = 0; response.status === 202 && waits < 200; waits++) {
    const job = await admin.get(`/imports/${response.body.importId}`);
    if (job.status !== 200 || ["completed", "failed", "reverted"].includes(job.body.status)) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function assertUnchanged(neighbour: TestClient): Promise<void> {
  const { data } = (await neighbour.get("/audit-logs?pageSize=200")).body;
  expect(data.every(({ actorId, actorType }: Record<string, string>) => actorId === "user-001" && actorType === "user")).toBe(true);
  expect((await neighbour.get("/customers")).body.data.map(({ name }: { name: string }) => name).sort()).toEqual([
    "First",
    "Imported",
    "第二",
  ]);
  expect((await neighbour.get("/settings")).body.version).toBe(1);
}
