import { readFuzzSettings } from "@cell/http/testing/config";
import { type FuzzRequest, fuzzOperations, Known } from "@cell/http/testing/fuzz";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestCell, type TestCell } from "./testing/cell.ts";
import { document, expectConformance } from "./testing/conformance.ts";
import { createDatabase, createTenant, operatorKey, startTestGateway, type TestGateway } from "./testing/gateway.ts";

const { runs, seed } = readFuzzSettings();
const known = new Known();
const operations = fuzzOperations(document, known);
/** A tenant whose records must stay unchanged. */
const bystander = "bystander";

let cell: TestCell;
let gateway: TestGateway;
let keys: string[];
/** The ids of the bystander and its key: requests must not name them, since the operator could change them. */
let untouched: string[];

beforeAll(async () => {
  cell = await startTestCell();
  // Rate limits are not under test.
  const limits = { RATE_LIMIT_TOKEN: "1000000", RATE_LIMIT_TENANT: "1000000" };
  gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`, limits);
  const administrator = await createTenant(gateway, "tenant-a");
  const { keyId } = await createTenant(gateway, bystander);
  untouched = [bystander, keyId];
  keys = [operatorKey, operatorKey, administrator.key];
  for (const tenantId of ["tenant-a", "tenant-b"]) known.add("tenantId", tenantId);
  known.add("cell", "crm");
  known.learn((await gateway.call("/api/admin/keys?tenantId=tenant-a")).body);
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

async function assertResponse(key: string, request: FuzzRequest): Promise<void> {
  const { method, path, headers, body } = request;
  if (untouched.some((id) => path.includes(id) || String(body).includes(id))) return;
  const response = await fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...headers },
    ...(body === undefined || method === "GET" ? {} : { body: body as string | Uint8Array<ArrayBuffer> }),
  });
  const text = await response.text();
  expect(response.status, text).toBeLessThan(500);
  const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
  const answered = isJson && text !== "" ? JSON.parse(text) : {};
  expectConformance(method, response, answered);
  if (response.status < 400) known.learn(answered);
}

describe(`whatever an administrator or the operator sends, the response is one that the document declares (FUZZ_SEED=${seed} FUZZ_RUNS=${runs})`, () => {
  test.each(operations.map(({ name, requests }) => [name, requests] as const))(
    "%s",
    { timeout: 10_000 + runs * 500 },
    async (_, requests) => {
      const property = fc.asyncProperty(fc.nat(2), requests, async (who, make) => {
        const request = make();
        try {
          await assertResponse(keys[who] as string, request);
        } catch (error) {
          const { method, path, headers, body } = request;
          throw new Error(`${method} ${path} ${JSON.stringify(headers)} ${String(body).slice(0, 2_000)}: ${(error as Error).message}`);
        }
      });
      await fc.assert(property, { numRuns: runs, seed, endOnFailure: true });
    },
  );
});

test("after all requests the gateway is ready, and the bystander is unchanged", async () => {
  expect((await gateway.call("/ready")).status).toBe(200);
  expect((await gateway.call(`/api/admin/tenants/${bystander}`)).body).toMatchObject({ tenantId: bystander, name: bystander });
  expect((await gateway.call(`/api/admin/keys?tenantId=${bystander}`)).body.total).toBe(1);
});
