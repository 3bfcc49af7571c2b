import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { readFuzzSettings } from "@cell/http/testing/config";
import { type FuzzRequest, fuzzOperations, Known } from "@cell/http/testing/fuzz";
import { schemaOf } from "@cell/postgres";
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { crmDocument } from "./openapi.ts";
import { startCrm, type TestCrm } from "./testing/test-crm.ts";

const { runs, seed } = readFuzzSettings();
const known = new Known();
const operations = fuzzOperations(await crmDocument(), known);

let cell: TestCrm;
let tenantId: string;
let neighbour: string;
let callers: TestClient[];
let database: pg.Client;

beforeAll(async () => {
  cell = await startCrm();
  [tenantId, neighbour] = [await cell.tenant(), await cell.tenant()];
  const [admin, foreign] = [cell.client(tenantId), cell.client(neighbour)];
  const sales = cell.client(tenantId, { userId: "user-002", scope: "own" });
  const masked = cell.client(tenantId, { permissions: admin.principal.permissions.filter((one) => !/^(?:pii|amount):/.test(one)) });
  callers = [admin, admin, sales, masked];
  for (const client of [admin, foreign]) await furnish(client);
  database = new pg.Client({ connectionString: inject("databaseUrl") });
  await database.connect();
});

afterAll(async () => {
  await database.end();
  await cell.stop();
});

/** Records of each kind, and what lists say of them. */
async function furnish(client: TestClient): Promise<void> {
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

/** Number of audit entries and stored responses: a failed request adds to neither. */
async function traces(tenant: string): Promise<string> {
  const text = `select (select count(*) from $tenant.audit_logs) || '/' || (select count(*) from $tenant.idempotency_keys) as traces`;
  return (await database.query<{ traces: string }>(text.replaceAll("$tenant", `"${schemaOf(tenant)}"`))).rows[0]?.traces ?? "";
}

async function send(client: TestClient, request: FuzzRequest): Promise<TestResponse> {
  const response = await client.send(request.method, request.path, {
    headers: request.headers,
    ...(request.body === undefined || request.method === "GET" ? {} : { raw: request.body }),
  });
  // What is put off would write while the next request is judged.
  for (let waits = 0; response.status === 202 && waits < 200; waits++) {
    const job = await callers[0]?.get(`/imports/${response.body.importId}`);
    if (job?.status !== 200 || ["completed", "failed", "reverted"].includes(job.body.status)) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return response;
}

async function assertResponse(client: TestClient, request: FuzzRequest): Promise<void> {
  const before = await traces(tenantId);
  const response = await send(client, request);
  expect(response.status, response.text).toBeLessThan(500);
  if (response.status < 400) {
    known.learn(response.body);
  } else {
    const rejection = { code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String), requestId: expect.any(String) };
    expect(response.body, response.text).toMatchObject(rejection);
    expect(await traces(tenantId), "audit entries/kept answers").toBe(before);
  }
}

describe(`whatever is sent, the answer is one that the document declares, and a refusal changes nothing (FUZZ_SEED=${seed} FUZZ_RUNS=${runs})`, () => {
  test.each(operations.map(({ name, requests }) => [name, requests] as const))(
    "%s",
    { timeout: 10_000 + runs * 500 },
    async (_, requests) => {
      const property = fc.asyncProperty(fc.nat(3), requests, async (who, make) => {
        const request = make();
        try {
          await assertResponse(callers[who] as TestClient, request);
        } catch (error) {
          const { method, path, headers, body } = request;
          throw new Error(`${method} ${path} ${JSON.stringify(headers)} ${String(body).slice(0, 2_000)}: ${(error as Error).message}`);
        }
      });
      await fc.assert(property, { numRuns: runs, seed, endOnFailure: true });
    },
  );
});

test("after all that the audit trail verifies, and the neighbour is as it was", async () => {
  await cell.sealAll(tenantId);
  const admin = cell.client(tenantId);
  expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, firstBroken: null });
  const foreign = cell.client(neighbour);
  const { data } = (await foreign.get("/audit-logs?pageSize=200")).body;
  expect(data.every(({ actorId, actorType }: Record<string, string>) => actorId === "user-001" && actorType === "user")).toBe(true);
  expect((await foreign.get("/customers")).body.data.map(({ name }: { name: string }) => name).sort()).toEqual([
    "First",
    "Imported",
    "第二",
  ]);
  expect((await foreign.get("/settings")).body.version).toBe(1);
});
