import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import type { Permission } from "@cell/http";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { inspect, startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
const ids: Record<string, string> = {};

const matching: Permission[] = ["crm:read", "pii:match"];
const integrator = (userId: string) => cell.client(tenantId, { userId, permissions: matching });
const lookUp = (client: TestClient, body: unknown, key?: string) => client.post("/lookup", { body, ...(key ? { key } : {}) });
const entries = () =>
  inspect<{ changes: unknown; actor_id: string }>(tenantId, "select * from $tenant.audit_logs where action = 'lookup' order by seq");

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  for (const [name, ownerId] of [
    ["mine", "sales-1"],
    ["theirs", "sales-2"],
  ] as const) {
    const body = { name, ownerId, contactPhone: "+86 138-0013-8001", contactEmail: "Person@Example.com" };
    ids[name] = (await admin.post("/customers", { body })).body.customerId;
    const contact = { customerId: ids[name], name: `${name} person`, phone: "13800138001", email: "person@example.COM" };
    ids[`${name} person`] = (await admin.post("/contacts", { body: contact })).body.contactId;
  }
  const gone = (await admin.post("/customers", { body: { name: "gone", contactPhone: "13800138001" } })).body.customerId;
  await admin.delete(`/customers/${gone}`);
});

const namesOf = ({ body }: { body: { data: { name: string }[] } }) => body.data.map(({ name }) => name).sort();
const everyone = ["mine", "mine person", "theirs", "theirs person"];

describe("a lookup", () => {
  test.each([{ phone: "13800138001" }, { phone: "0086 138 0013 8001" }, { email: "PERSON@example.com" }])(
    "of %j finds customers and contacts in every form, without what is masked, and says so in the trail",
    async (body) => {
      const response = await lookUp(integrator("forms"), body);
      expect([response.status, namesOf(response)]).toEqual([200, everyone]);
      expect(response.body.data).toContainEqual({ resourceType: "customer", resourceId: ids.mine, customerId: ids.mine, name: "mine" });
      expect(response.body.data).toContainEqual({
        resourceType: "contact",
        resourceId: ids["mine person"],
        customerId: ids.mine,
        name: "mine person",
      });
      const [field, value] = Object.entries(body)[0] ?? [];
      const last = (await entries()).at(-1);
      expect(last?.changes).toMatchObject([{ field }, { field: "matches", after: 4 }]);
      expect(JSON.stringify(last)).not.toContain(value);
      expect(JSON.stringify(last)).not.toMatch(/13800138001|person@example/i);
    },
  );

  test("a lookup finds what its caller may see", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own", permissions: matching });
    expect(namesOf(await lookUp(sales, { phone: "13800138001" }))).toEqual(["mine", "mine person"]);
    expect(namesOf(await lookUp(cell.client(await cell.tenant()), { phone: "13800138001" }))).toEqual([]);
  });

  test("a lookup returns at most twenty records", async () => {
    const other = cell.client(await cell.tenant());
    for (let n = 0; n < 22; n++) await other.post("/customers", { body: { name: `n${n}`, contactEmail: "many@example.com" } });
    expect((await lookUp(other, { email: "many@example.com" })).body.data).toHaveLength(20);
  });

  test.each([
    {},
    { phone: "13800138001", email: "a@example.com" },
    { phone: "" },
    { phone: "138****8001" },
    { email: "p***@example.com" },
    { phone: "x" },
  ])("of %j is a BAD_REQUEST, and none is counted", async (body) => {
    expect((await lookUp(integrator("wrong"), body)).body.code).toBe("BAD_REQUEST");
    expect(await inspect(tenantId, "select from $tenant.lookups where user_id = 'wrong'")).toEqual([]);
  });

  test("a lookup needs pii:match and crm:read", async () => {
    for (const permissions of [["crm:read", "pii:read"], ["pii:match"]] as Permission[][])
      expect((await lookUp(cell.client(tenantId, { permissions }), { phone: "13800138001" })).status).toBe(403);
  });

  test("that is repeated is answered again and counted once, until a record of it is out of sight", async () => {
    const sales = cell.client(tenantId, { userId: "sales-2", scope: "own", permissions: matching });
    const before = (await entries()).length;
    const first = await lookUp(sales, { phone: "13800138001" }, "same");
    const again = await lookUp(sales, { phone: "13800138001" }, "same");
    expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
    expect((await entries()).length).toBe(before + 1);
    await admin.patch(`/customers/${ids.theirs}`, { body: { ownerId: "sales-1" } });
    expect((await lookUp(sales, { phone: "13800138001" }, "same")).status).toBe(404);
    await admin.patch(`/customers/${ids.theirs}`, { body: { ownerId: "sales-2" } });
  });
});

describe("the limit of lookups", () => {
  test("holds for a user across processes, however many ask at once, and says when it ends", async () => {
    const other = await startCrm();
    try {
      const clients = [integrator("busy"), other.client(tenantId, { userId: "busy", permissions: matching })];
      const before = (await entries()).length;
      const responses = await Promise.all(
        Array.from({ length: 44 }, (_, n) => lookUp(clients[n % 2] as TestClient, { phone: `1390000${1000 + n}` })),
      );
      // A command that loses to others too often is refused as busy; what is let in never exceeds the limit.
      const done = responses.filter(({ status }) => status === 200).length;
      expect(done).toBeLessThanOrEqual(30);
      for (let n = 0; n < 30 - done; n++) expect((await lookUp(clients[0] as TestClient, { phone: "95588" })).status).toBe(200);
      for (const client of clients) {
        const refused = await lookUp(client, { email: "person@example.com" });
        expect([refused.status, refused.body.code]).toEqual([429, "RATE_LIMITED"]);
        const seconds = Number(refused.headers.get("retry-after"));
        expect(seconds).toBeGreaterThanOrEqual(1);
        expect(seconds).toBeLessThanOrEqual(60);
      }
      expect((await entries()).length).toBe(before + 30);
      expect((await lookUp(integrator("calm"), { phone: "95588" })).status).toBe(200);
    } finally {
      await other.stop();
    }
  });

  test("holds for the user of a key, however many users the key acts for", async () => {
    const acting = (n: number) =>
      cell.client(tenantId, { userId: `acted-${n}`, tokenUserId: "agent", actorType: "service", permissions: matching });
    for (let n = 0; n < 30; n++) expect((await lookUp(acting(n), { phone: "95588" })).status).toBe(200);
    expect((await lookUp(acting(30), { phone: "95588" })).status).toBe(429);
    expect((await lookUp(integrator("agent"), { phone: "95588" })).status).toBe(429);
    expect((await lookUp(integrator("acted-0"), { phone: "95588" })).status).toBe(200);
    const [entry] = await inspect(tenantId, "select * from $tenant.audit_logs where actor_id = 'acted-29' and action = 'lookup'");
    expect(entry).toBeDefined();
  });

  test("lets a user go on when the first ones are a minute old, and keeps no more than those of a minute", async () => {
    await inspect(
      tenantId,
      `insert into $tenant.lookups values ('patient', array(select clock_timestamp() - interval '61 seconds' from generate_series(1, 30)))`,
    );
    expect((await lookUp(integrator("patient"), { phone: "95588" })).status).toBe(200);
    const rows = await inspect<{ stored: number }>(
      tenantId,
      "select cardinality(times) as stored from $tenant.lookups where user_id = 'patient'",
    );
    expect(rows).toEqual([{ stored: 1 }]);
  });
});
