import type { TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, beforeEach, expect } from "vitest";
import { startCrm, type TestCrm, type TestCrmOptions } from "./test-crm.ts";

/** A cell, a tenant of it, and the tenant's client with every permission. */
export interface TestTenant {
  cell: TestCrm;
  tenantId: string;
  admin: TestClient;
}

type Prepare = (given: TestTenant) => void | Promise<void>;

/** Serves a CRM cell to the tests of a file, and prepares a new tenant before each test. */
export function tenantPerTest(prepare: Prepare, options: TestCrmOptions = {}): void {
  let cell: TestCrm;
  beforeAll(async () => {
    cell = await startCrm(options);
  });
  beforeEach(async () => prepare(await newTenant(cell)));
  afterAll(() => cell.stop());
}

/** Serves a CRM cell to the tests of a file, and prepares one tenant for all of them. */
export function tenantPerFile(prepare: Prepare, options: TestCrmOptions = {}): void {
  let cell: TestCrm;
  beforeAll(async () => {
    cell = await startCrm(options);
    await prepare(await newTenant(cell));
  });
  afterAll(() => cell.stop());
}

async function newTenant(cell: TestCrm): Promise<TestTenant> {
  const tenantId = await cell.tenant();
  return { cell, tenantId, admin: cell.client(tenantId) };
}

/** Creates a record and resolves to it; fails the test where the response is not 201. */
// biome-ignore lint/suspicious/noExplicitAny: the checker has compared the response with the document.
export async function created(client: TestClient, path: string, body: object): Promise<any> {
  const response = await client.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

/** Creates a customer and resolves to its id. */
export async function newCustomer(client: TestClient, name: string): Promise<string> {
  return (await created(client, "/customers", { name })).customerId;
}
