import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { auditOf, inspect, startCrm } from "./testing/test-crm.ts";

let cell: TestCell;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

const budget = 4 * 1024 * 1024;

/** All records of a list by cursor: their ids, and the answers. */
async function readAllPages(client: TestClient, path: string, id: string): Promise<{ ids: string[]; responses: TestResponse[] }> {
  const [ids, responses]: [string[], TestResponse[]] = [[], []];
  for (let cursor: string | null = ""; cursor !== null && responses.length < 200; ) {
    const response: TestResponse = await client.get(`${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}`);
    expect(response.status, response.text.slice(0, 500)).toBe(200);
    ids.push(...response.body.data.map((row: Record<string, string>) => row[id]));
    responses.push(response);
    cursor = response.body.nextCursor;
  }
  return { ids, responses };
}

describe("pages of large records", () => {
  let admin: TestClient;
  let opportunityId: string;
  let customerId: string;

  beforeAll(async () => {
    const tenantId = await cell.tenant();
    admin = cell.client(tenantId);
    for (let n = 0; n < 30; n++) await admin.post("/customers", { body: { name: `Large ${n}` } });
    await inspect(tenantId, `update $tenant.customers set custom_fields = jsonb_build_object('text', repeat('x', 1000000))`);
    customerId = (await admin.post("/customers", { body: { name: "Small" } })).body.customerId;
    await inspect(
      tenantId,
      `insert into $tenant.contacts (contact_id, customer_id, name, notes, is_primary, created_at, updated_at, version)
       select gen_random_uuid(), $1, n, repeat('华', 10000), false, date_trunc('milliseconds', now()), now(), 1 from generate_series(1, 180) n`,
      [customerId],
    );
    opportunityId = (await admin.post("/opportunities", { body: { customerId, name: "Deal" } })).body.opportunityId;
    for (const stage of ["qualification", "proposal"]) await admin.patch(`/opportunities/${opportunityId}`, { body: { stage } });
    await inspect(tenantId, "update $tenant.opportunity_history set request_id = repeat('r', 1900000)");
    await inspect(tenantId, `update $tenant.audit_logs set user_agent = repeat('u', 1900000) where resource_type = 'opportunity'`);
  }, 120_000);

  const lists = {
    customers: { path: () => "/customers", id: "customerId", count: 31 },
    "customers' export": { path: () => "/customers/export", id: "customerId", count: 31 },
    contacts: { path: () => "/contacts", id: "contactId", count: 180 },
    "a stage history": { path: () => `/opportunities/${opportunityId}/stage-history`, id: "toStage", count: 3 },
    "the audit trail": { path: () => "/audit-logs?resourceType=opportunity", id: "id", count: 3 },
  } as const;

  test.each(Object.keys(lists) as (keyof typeof lists)[])(
    "%s: a walk by cursor ends each page in time and sees every record once",
    async (name) => {
      const { path, id, count } = lists[name];
      const { ids, responses } = await readAllPages(admin, `${path()}${path().includes("?") ? "&" : "?"}pageSize=200`, id);
      expect([ids.length, new Set(ids).size]).toEqual([count, count]);
      expect(responses.length).toBeGreaterThan(1);
      for (const { text, body } of responses) {
        expect(text.length).toBeLessThan(budget + 100_000);
        expect([body.total, body.pageSize]).toEqual([count, 200]);
      }
    },
  );

  test.each(Object.keys(lists) as (keyof typeof lists)[])(
    "%s: a numbered page that is too large is a 413 naming a size that fits",
    async (name) => {
      const { path, count } = lists[name];
      const asked = (parameters: string) => admin.get(`${path()}${path().includes("?") ? "&" : "?"}${parameters}`);
      for (const parameters of ["pageSize=200", "pageSize=200&page=1", `pageSize=${count}`]) {
        const response = await asked(parameters);
        expect([response.status, response.body.code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
        const { pageSize } = response.body.details;
        expect(response.body.message).toContain(`pageSize=${pageSize}`);
        const smaller = await asked(`pageSize=${pageSize}`);
        expect([smaller.status, smaller.body.data.length]).toEqual([200, pageSize]);
      }
    },
  );

  test("a page reads hardly more than it holds, however many records are requested", async () => {
    const tenantId = await cell.tenant();
    await inspect(
      tenantId,
      `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, custom_fields, created_at, updated_at, version)
       select gen_random_uuid(), n, n, 'lead', 'user-001', '{}', jsonb_build_object('text', repeat('x', 500000)), date_trunc('milliseconds', now()), now(), 1
       from generate_series(1, 100) n`,
    );
    const target = new URL(inject("databaseUrl"));
    const port = Number(target.port);
    let bytes = 0;
    const relay = createServer((client) => {
      const server = connect(port, "127.0.0.1");
      client.pipe(server).pipe(client);
      server.on("data", ({ length }) => {
        bytes += length;
      });
      for (const socket of [client, server]) socket.on("error", () => undefined);
    }).listen(0, "127.0.0.1");
    await once(relay, "listening");
    target.port = String((relay.address() as AddressInfo).port);
    const behind = await startCrm({ databaseUrl: target.href });
    try {
      const { responses } = await readAllPages(behind.client(tenantId), "/customers?pageSize=200", "customerId");
      const answered = responses.reduce((sum, { text }) => sum + text.length, 0);
      expect(responses.length).toBeGreaterThanOrEqual(12);
      // Before it is known how large the rows are, 25 of them are read.
      expect(bytes).toBeLessThan(1.5 * answered + 25 * 500_000);
    } finally {
      await behind.stop();
      relay.close();
    }
  });

  test("a record that is larger than a page is a page of its own, and the 360 view shows what fits", async () => {
    const tenantId = await cell.tenant();
    const client = cell.client(tenantId);
    for (const name of ["a", "b"]) await client.post("/customers", { body: { name } });
    await inspect(tenantId, `update $tenant.customers set custom_fields = jsonb_build_object('text', repeat('x', 5000000))`);
    expect((await client.get("/customers")).body.details).toEqual({ pageSize: 1 });
    expect((await client.get("/customers?pageSize=1&page=2")).body.data).toHaveLength(1);
    expect((await readAllPages(client, "/customers", "customerId")).ids).toHaveLength(2);
    const [{ customerId: of }] = (await client.get("/customers?pageSize=1")).body.data;
    // Notes as large as these no caller can write, and the index of pairs takes its time for them.
    await inspect(tenantId, "drop index $tenant.contacts_grams");
    await inspect(
      tenantId,
      `insert into $tenant.contacts (contact_id, customer_id, name, notes, is_primary, created_at, updated_at, version)
       select gen_random_uuid(), $1, n, repeat('x', 2000000), false, date_trunc('milliseconds', now()), now(), 1 from generate_series(1, 3) n`,
      [of],
    );
    // Past the checks of answers: no caller can make a contact as large as this.
    const view = await fetch(`${cell.url}/customers/${of}/360?include=contacts`, { headers: client.headers() });
    expect(((await view.json()) as { contacts: unknown }).contacts).toMatchObject({ total: 3, items: [{}, {}] });
  });
});

describe("cursors", () => {
  let admin: TestClient;
  let tenantId: string;

  beforeAll(async () => {
    tenantId = await cell.tenant();
    admin = cell.client(tenantId);
    for (const n of [1, 2, 3]) {
      const { customerId } = (
        await admin.post("/customers", { body: { name: `c${n}`, contactPhone: `1380013800${n}`, contactEmail: `contact${n}@example.com` } })
      ).body;
      await admin.post("/contacts", { body: { customerId, name: `p${n}`, phone: `1380013800${n}`, email: `contact${n}@example.com` } });
      await admin.post("/opportunities", { body: { customerId, name: `o${n}`, amount: `12345${n}.5` } });
      const { contractId } = (
        await admin.post("/contracts", { body: { customerId, name: `k${n}`, amount: `12345${n}.5`, status: "active" } })
      ).body;
      await admin.post("/payments", { body: { contractId, amount: `12345${n}.5`, paidAt: "2026-01-01" } });
    }
  });

  test.each([
    ["/customers", "contactPhone", "customerId"],
    ["/customers", "-contactEmail", "customerId"],
    ["/customers/export", "contactPhone", "customerId"],
    ["/contacts", "phone", "contactId"],
    ["/contacts", "email,name", "contactId"],
    ["/opportunities", "-amount", "opportunityId"],
    ["/opportunities/export", "amount", "opportunityId"],
    ["/contracts", "amount", "contractId"],
    ["/contracts", "receivedAmount", "contractId"],
    ["/contracts", "outstandingAmount", "contractId"],
    ["/contracts", "-paidRatio", "contractId"],
    ["/payments", "name-less-amount", "paymentId"],
  ])("of %s in the order %s hold nothing that the list masks", async (path, order, id) => {
    const sort = order === "name-less-amount" ? "amount" : order;
    const { ids, responses } = await readAllPages(admin, `${path}?sort=${sort}&pageSize=1`, id);
    expect([ids.length, new Set(ids).size]).toEqual([3, 3]);
    for (const { body } of responses) {
      if (body.nextCursor === null) continue;
      const parts = body.nextCursor.split(".").map((part: string) => Buffer.from(part, "base64url").toString("latin1"));
      expect([body.nextCursor, ...parts].join(" ")).not.toMatch(/13800|contact\d|12345/);
    }
  });

  test("that hide their values cannot be made, changed or taken to another order, tenant or process without the key", async () => {
    const { nextCursor } = (await admin.get("/customers?sort=contactPhone&pageSize=1")).body;
    const other = cell.client(await cell.tenant());
    const plain = Buffer.from(JSON.stringify(["x", 2, 3, false, ["13800138001", "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"]])).toString(
      "base64url",
    );
    const changed = `${nextCursor.slice(0, -2)}${nextCursor.endsWith("A") ? "BA" : "AA"}`;
    for (const cursor of [plain, `test.${plain}`, "test.", "other.AAAA", changed])
      expect((await admin.get(`/customers?sort=contactPhone&pageSize=1&cursor=${cursor}`)).status, cursor).toBe(400);
    expect((await admin.get(`/customers?sort=-contactPhone&pageSize=1&cursor=${nextCursor}`)).status).toBe(400);
    expect((await other.get(`/customers?sort=contactPhone&pageSize=1&cursor=${nextCursor}`)).status).toBe(400);
    const process = await startCrm();
    try {
      const response = await process.client(tenantId).get(`/customers?sort=contactPhone&pageSize=1&cursor=${nextCursor}`);
      expect(response.body.data).toMatchObject([{ name: "c2" }]);
    } finally {
      await process.stop();
    }
  });

  test("an export's entry in the trail holds its filter without what is masked", async () => {
    const exported = async (path: string, filter: string, more = "") => {
      const response = await admin.get(`${path}?filter=${encodeURIComponent(filter)}${more}`);
      expect(response.status, response.text).toBe(200);
      const { data } = (await admin.get("/audit-logs?action=export&pageSize=1")).body;
      const [stored] = await auditOf(tenantId, data[0].resourceId);
      const changes = stored?.changes as { field: string; after: unknown }[];
      return Object.fromEntries(changes.map(({ field, after }) => [field, after]));
    };
    expect(
      await exported(
        "/customers/export",
        '(contactPhone[in]: 13800138001,"+86 138-0013-8002" or contactEmail[eq]:contact1@example.com) and name[ne]:x',
      ),
    ).toMatchObject({ filter: "(contactPhone[in]:138****8001,+86138****8002 or contactEmail[eq]:c***@example.com) and name[ne]:x" });
    expect(await exported("/customers/export", "contactPhone[isNull]:false", "&format=csv&keyword=%2B86%20138-0013-8002")).toMatchObject({
      filter: "contactPhone[isNull]:false",
      keyword: "+86138****8002",
    });
    expect(await exported("/opportunities/export", "amount[gte]:123452 and amount[lt]:123453", "&keyword=o2@example.com")).toMatchObject({
      filter: "amount[gte]:**** and amount[lt]:****",
      keyword: "***@example.com",
    });
  });
});
