import { operationsOf } from "@cell/cell/testing/conformance";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { crmDocument } from "./openapi.ts";
import { startCrm } from "./testing/test-crm.ts";

/** All that a caller can have but the permission to read amounts. */
const blindTo = "amount:read";

/** The same records with different amounts: what follows from them must not tell one tenant from the other. */
const amounts = {
  modest: { won: "100", lost: "50", open: "10", contract: "1000", payment: "400", refund: "100" },
  lavish: { won: "98765.43", lost: "3", open: "77", contract: "33", payment: "500.55", refund: "0.01" },
} as const;
type Amounts = Record<keyof (typeof amounts)["modest"], string>;

interface Fixture {
  blind: TestClient;
  /** Records by the first segment of their paths. */
  ids: Record<string, string>;
  /** The answers of the writes, as the blind caller saw them. */
  written: unknown[];
}

const document = await crmDocument();
const reads = operationsOf(document).filter(({ method, permission }) => method === "GET" && permission !== "cell:admin");

let cell: TestCell;
let modest: Fixture;
let lavish: Fixture;

beforeAll(async () => {
  cell = await startCrm();
  modest = await createFixture(amounts.modest);
  lavish = await createFixture(amounts.lavish);
}, 60_000);
afterAll(() => cell.stop());

async function createFixture(given: Amounts): Promise<Fixture> {
  const tenantId = await cell.tenant();
  const admin = cell.client(tenantId);
  const blind = cell.client(tenantId, { permissions: admin.principal.permissions.filter((permission) => permission !== blindTo) });
  const written: unknown[] = [];
  const write = async (method: string, path: string, body?: object, key?: string) => {
    const response = await blind.send(method, path, { ...(body && { body }), ...(key && { key }) });
    expect(response.status, response.text).toBeLessThan(300);
    written.push(response.body);
    return response.body;
  };
  const { customerId } = await write("POST", "/customers", { name: "Of amounts" });
  for (const stage of ["won", "lost", "proposal"] as const) {
    const amount = given[stage === "proposal" ? "open" : stage];
    const lost = stage === "lost" ? { lostReason: "price" } : {};
    await write("POST", "/opportunities", { customerId, name: stage, amount, stage, ...lost });
  }
  const { data } = (await blind.get("/opportunities?filter=status[eq]:open")).body;
  const { opportunityId } = data[0];
  await write("PATCH", `/opportunities/${opportunityId}`, { stage: "negotiation", probability: 90 });
  const terms = { customerId, name: "Contract", number: "N-1", amount: given.contract, status: "active" };
  const { contractId } = await write("POST", "/contracts", terms);
  const pay = { contractId, amount: given.payment, paidAt: "2026-01-05", reference: "R-1" };
  const { paymentId } = await write("POST", "/payments", pay, "pay");
  await write("POST", "/payments", pay, "pay");
  const refund = await write("POST", "/payments", { ...pay, amount: given.refund, kind: "refund", reference: "R-2" });
  await write("POST", `/payments/${refund.paymentId}/void`);
  await write("PATCH", `/contracts/${contractId}`, { name: "Renamed", amount: "****" });
  const { webhookId } = await write("POST", "/webhooks", { url: "https://example.com/hook", events: ["*"] });
  const { pipelineId } = data[0];
  const ids = {
    customers: customerId,
    opportunities: opportunityId,
    contracts: contractId,
    payments: paymentId,
    webhooks: webhookId,
    pipelines: pipelineId,
  };
  return { blind, ids, written };
}

/** An answer's text without what differs between any two tenants. */
function comparable(text: string, tenantId: string): string {
  return text
    .replaceAll(tenantId, "tenant")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "id")
    .replace(/\d{4}-\d\d-\d\dT\d\d(:|%3A)\d\d(:|%3A)\d\d(\.\d+)?Z/g, "time")
    .replace(/req-[0-9a-f]{16}/g, "request")
    .replace(/"(secret|nextCursor)":"[^"]*"/g, '"$1":"opaque"');
}

async function seen({ blind, ids }: Fixture, path: string): Promise<string> {
  const { tenantId } = blind.principal;
  const collection = path.split("/")[1] ?? "";
  const id = collection === "audit-logs" ? (await blind.get("/audit-logs")).body.data[0].id : ids[collection];
  const response = await blind.get(path.replace("{id}", id ?? "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"));
  return `${response.status} ${comparable(response.text, tenantId)}`;
}

describe("without amount:read, the same records with other amounts answer the same", () => {
  test.each(reads.map(({ path }) => path))("to GET %s", async (path) => {
    expect(await seen(lavish, path)).toBe(await seen(modest, path));
  });

  test.each(["/opportunities/export?format=csv", "/customers/export?format=csv", "/reports/funnel?format=csv", "/audit-logs?format=csv"])(
    "to GET %s",
    async (path) => {
      expect(await seen(lavish, path)).toBe(await seen(modest, path));
    },
  );

  test("to GET /pipeline/summary with a window", async () => {
    const path = "/pipeline/summary?from=2020-01-01";
    expect(await seen(modest, path)).toContain('"winRateByAmount":"****"');
    expect(await seen(lavish, path)).toBe(await seen(modest, path));
  });

  test("to writes and their replays", () => {
    const text = ({ blind, written }: Fixture) => comparable(JSON.stringify(written), blind.principal.tenantId);
    expect(text(lavish)).toBe(text(modest));
  });
});

test.each(["contracts", "payments"])(
  "%s name each figure that follows from an amount in _masked, for who may not read amounts",
  async (path) => {
    const figures =
      path === "contracts" ? ["amount", "receivedAmount", "outstandingAmount", "paidRatio", "overpaid"] : ["amount", "overpaid"];
    for (const body of [
      (await lavish.blind.get(`/${path}/${lavish.ids[path]}`)).body,
      (await lavish.blind.get(`/${path}`)).body.data[0],
      (await lavish.blind.get(`/customers/${lavish.ids.customers}/360`)).body[path].items[0],
    ]) {
      expect(body._masked).toEqual(figures);
      expect(figures.map((name) => body[name])).toEqual(figures.map(() => "****"));
    }
  },
);

test.each([
  "/contracts?sort=paidRatio",
  "/contracts?filter=paidRatio[gt]:100",
  "/contracts?filter=overpaid[eq]:true",
  "/payments?filter=overpaid[eq]:true",
])("a caller without amount:read cannot derive amounts by a figure: %s", async (path) => {
  expect((await lavish.blind.get(path)).body.code).toBe("FIELD_MASKED");
});
