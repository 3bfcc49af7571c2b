import type { TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, beforeEach } from "vitest";
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

/** Serves a CRM cell to the tests of a file. Returns what makes a new tenant and its client with every permission. */
export function tenantsOnDemand(options: TestCrmOptions = {}): () => Promise<TestClient> {
  let cell: TestCrm;
  beforeAll(async () => {
    cell = await startCrm(options);
  });
  afterAll(() => cell.stop());
  return async () => (await newTenant(cell)).admin;
}
