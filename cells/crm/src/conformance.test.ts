import { describeConformance } from "@cell/cell/testing/conformance";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { describe } from "vitest";
import { crmDocument } from "./openapi.ts";
import { startCrm } from "./testing/test-crm.ts";

/** The records that published examples refer to. */
async function prepare(client: TestClient) {
  const made = async (path: string, body: object) => (await client.post(path, { body, key: path.slice(1) })).body;
  const { customerId } = await made("/customers", { name: "Referred to" });
  const { contractId } = await made("/contracts", { customerId, name: "Referred to", amount: "1000000.00", status: "active" });
  return { customerId, contractId };
}

const document = await crmDocument();

describe.each(["own", "shared"] as const)("with logins %s", (logins) => {
  describeConformance(document, () => startCrm({ logins }), prepare);
});
