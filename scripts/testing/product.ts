import { startCrm, type TestCrm } from "../../cells/crm/src/testing/test-crm.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../../gateway/src/testing/gateway.ts";

/** A gateway with the CRM cell behind it, over real HTTP, and a tenant with an administrator's key. */
export interface TestProduct {
  gateway: TestGateway;
  cell: TestCrm;
  tenantId: string;
  key: string;
  stop(): Promise<void>;
}

export async function startProduct(): Promise<TestProduct> {
  const cell = await startCrm();
  const keys = { ASSERTION_KEYS: `test:${Buffer.alloc(32, 7).toString("base64url")}` };
  const gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`, keys);
  // The example of the document's X-Tenant-Id.
  const tenantId = "tenant-001";
  const { key } = await createTenant(gateway, tenantId, { role: "admin" });
  return {
    gateway,
    cell,
    tenantId,
    key,
    async stop() {
      await gateway.stop();
      await cell.stop();
    },
  };
}
