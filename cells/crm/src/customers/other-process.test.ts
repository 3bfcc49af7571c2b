import { createHash } from "node:crypto";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { startCrm, storedResponses } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let other: pg.Client;

beforeAll(async () => {
  cell = await startCrm();
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  other = new pg.Client({ connectionString: inject("databaseUrl") });
  await other.connect();
});
afterAll(async () => {
  await other.end();
  await cell.stop();
});

/** Holds a request id as another process of this cell does while its command runs. */
async function hold(key: string): Promise<void> {
  const scope = ["user-001", "POST", "/customers", key].join("\0");
  const lock = createHash("sha256").update(scope).digest().readBigInt64BE(0).toString();
  await other.query("begin");
  await other.query("select pg_advisory_xact_lock($1::bigint)", [lock]);
}

test("while another process runs the first request, a retry gets IN_PROGRESS and changes nothing; afterwards it is replayed", async () => {
  await hold("elsewhere");
  const body = { name: "Carried out elsewhere" };
  const waiting = admin.post("/customers", { body, key: "elsewhere" });
  // Others do not wait behind it.
  expect((await admin.post("/customers", { body: { name: "Not behind it" } })).status).toBe(201);
  const refused = await waiting;
  expect([refused.status, refused.body.details, refused.headers.get("retry-after")]).toEqual([409, { reason: "IN_PROGRESS" }, "1"]);
  expect(await storedResponses(tenantId)).toBe(0);
  await other.query("rollback");
  expect((await admin.post("/customers", { body, key: "elsewhere" })).status).toBe(201);
});

test("a waiting retry succeeds if the other process ends in time", async () => {
  await hold("soon-over");
  const waiting = admin.post("/customers", { body: { name: "Soon over" }, key: "soon-over" });
  await other.query("rollback");
  expect((await waiting).status).toBe(201);
});

test.each(["own", "shared"] as const)("a tenant that another process has dropped is not found (logins: %s)", async (logins) => {
  const [here, elsewhere] = await Promise.all([startCrm({ logins }), startCrm({ logins })]);
  const gone = await here.tenant();
  const client = here.client(gone);
  const { body } = await client.post("/customers", { body: { name: "Soon gone" } });
  const path = `/customers/${body.customerId}`;
  expect((await client.get(path)).status).toBe(200);
  expect(await elsewhere.registry.drop(gone)).toEqual({ dropped: true });
  const responses = [await client.patch(path, { body: { name: "Late" } }), await client.get(path)];
  expect(responses.map(({ status, body }) => [status, body.code])).toEqual([
    [404, "NOT_FOUND"],
    [404, "NOT_FOUND"],
  ]);
  await Promise.all([here.stop(), elsewhere.stop()]);
});
