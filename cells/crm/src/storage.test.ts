import { sweepTenant } from "@cell/cell/commands/idempotency-sweeper";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { auditOf, inspect, startCrm, type TestCrm } from "./testing/test-crm.ts";

let cell: TestCrm;
/** Another process of the cell, which has no answers in memory. */
let elsewhere: TestCrm;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  [cell, elsewhere] = await Promise.all([startCrm(), startCrm()]);
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
});
afterEach(() => {
  vi.useRealTimers();
});
afterAll(() => Promise.all([cell.stop(), elsewhere.stop()]));

const large = { text: "x".repeat(60_000) };
const storedBytes = async () =>
  (
    await inspect<{ bytes: number }>(
      tenantId,
      `select (select coalesce(sum(length(body)), 0) from $tenant.idempotency_keys)::int + (select coalesce(sum(length(body)), 0) from $tenant.shared_answers)::int as bytes`,
    )
  )[0]?.bytes ?? 0;

describe("a request that changes nothing", () => {
  test("stores its answer once however often it is sent, and each repeat is answered byte for byte, after the record has changed too", async () => {
    const { body } = await admin.post("/customers", { body: { name: "Large", customFields: large } });
    const path = `/customers/${body.customerId}`;
    const before = await storedBytes();
    const first = await Promise.all(
      Array.from({ length: 12 }, (_, index) => admin.patch(path, { body: { name: "Large" }, key: `same-${index}` })),
    );
    expect(new Set(first.map(({ text }) => text)).size).toBe(1);
    expect((await storedBytes()) - before).toBeLessThan(2 * 60_500);
    expect(await auditOf(tenantId, body.customerId)).toHaveLength(1);
    await admin.patch(path, { body: { name: "Changed", customFields: {} } });
    for (const client of [admin, elsewhere.client(tenantId)]) {
      const again = await client.patch(path, { body: { name: "Large" }, key: "same-7" });
      expect([again.status, again.text, again.headers.get("idempotency-replayed")]).toEqual([200, first[7]?.text, "true"]);
    }
  });

  test("is the same on every resource and path: restores, contracts, opportunities, contacts, webhooks, settings", async () => {
    const notes = "n".repeat(2_000);
    const { customerId } = (await admin.post("/customers", { body: { name: "Of all", notes } })).body;
    const contact = (await admin.post("/contacts", { body: { customerId, name: "x", notes } })).body;
    const opportunity = (await admin.post("/opportunities", { body: { customerId, name: "n".repeat(255) } })).body;
    const contract = (await admin.post("/contracts", { body: { customerId, name: "n".repeat(255), amount: "1" } })).body;
    const repeated: [string, object | undefined][] = [
      [`/customers/${customerId}/restore`, undefined],
      [`/contacts/${contact.contactId}`, { name: "x" }],
      [`/opportunities/${opportunity.opportunityId}`, { name: "n".repeat(255) }],
      [`/contracts/${contract.contractId}`, { name: "n".repeat(255) }],
      ["/settings", { currency: "CNY" }],
    ];
    for (const [path, body] of repeated) {
      const send = (client: TestClient) => {
        const request = { key: "same", ...(body ? { body } : {}) };
        return path.endsWith("restore") ? client.post(path, request) : client.patch(path, request);
      };
      const first = await send(admin);
      expect([path, first.status]).toEqual([path, 200]);
      const again = await send(elsewhere.client(tenantId));
      expect([path, again.text, again.headers.get("idempotency-replayed")]).toEqual([path, first.text, "true"]);
    }
  });

  test("keeps its answer as long as its request id, and no longer", async () => {
    const { body } = await admin.post("/customers", { body: { name: "Swept", customFields: large } });
    const send = () => elsewhere.client(tenantId).patch(`/customers/${body.customerId}`, { body: { name: "Swept" }, key: "swept" });
    const first = await send();
    await sweepTenant(cell.registry, tenantId);
    expect((await send()).text).toBe(first.text);
    await inspect(tenantId, "update $tenant.idempotency_keys set created_at = now() - interval '25 hours'");
    await inspect(tenantId, "update $tenant.shared_answers set created_at = now() - interval '25 hours'");
    await sweepTenant(cell.registry, tenantId);
    expect(await storedBytes()).toBe(0);
  });
});

describe("a tenant past its storage quota", () => {
  const limited = (quotaBytes: number) => cell.client(tenantId, { quotaBytes });

  test("adds nothing, by any path; reads, replays, deletes and taking an import back go on", async () => {
    const created = await admin.post("/customers", { body: { name: "Before" }, key: "before" });
    const { customerId } = created.body;
    const other = (await admin.post("/customers", { body: { name: "Other" } })).body.customerId;
    const contract = (await admin.post("/contracts", { body: { customerId, name: "x", amount: "9", status: "active" } })).body;
    const { importId } = (await admin.post("/customers/import", { body: { items: [{ name: "Imported" }] } })).body;
    const stagedRows = async () => (await inspect<object>(tenantId, "select from $tenant.import_batches")).length;
    const staged = await stagedRows();
    const full = limited(1);
    const refused = [
      await full.post("/customers", { body: { name: "Added" } }),
      await full.patch(`/customers/${customerId}`, { body: { level: "B" } }),
      await full.post(`/customers/${customerId}/merge`, { body: { sourceIds: [other] } }),
      await full.post("/contacts", { body: { customerId, name: "x" } }),
      await full.post("/opportunities", { body: { customerId, name: "x" } }),
      await full.patch(`/contracts/${contract.contractId}`, { body: { name: "y" } }),
      await full.post("/payments", { body: { contractId: contract.contractId, amount: "1", paidAt: "2026-01-31" } }),
      await full.patch("/settings", { body: { stuckAfterDays: 3 } }),
      await full.post("/customers/import", { body: { items: [{ name: "Added" }] } }),
      await full.post("/customers/import?async=true", { raw: "name\nAdded\n", headers: { "content-type": "text/csv" } }),
      await full.post("/opportunities/import", { body: { items: [{ name: "Added", customerId }], dryRun: true } }),
    ];
    for (const { status, body, text } of refused)
      expect([status, body.code, body.details], text).toEqual([
        413,
        "PAYLOAD_TOO_LARGE",
        { reason: "QUOTA", usedBytes: expect.any(Number), quotaBytes: 1 },
      ]);
    expect((await full.get("/customers?sort=name")).body.data.map(({ name }: { name: string }) => name)).toEqual([
      "Before",
      "Imported",
      "Other",
    ]);
    expect(await stagedRows()).toBe(staged);
    const again = await full.post("/customers", { body: { name: "Before" }, key: "before" });
    expect([again.status, again.text]).toEqual([201, created.text]);
    expect((await full.patch(`/customers/${customerId}`, { body: { name: "Before" } })).status).toBe(200);
    expect((await full.post(`/imports/${importId}/revert`)).status).toBe(200);
    expect((await full.delete(`/customers/${other}`)).status).toBe(200);
    expect((await full.get("/customers")).body.total).toBe(1);
  });

  test("is found out by what it stores, a little over the quota at most, and goes on when that is raised", async () => {
    const used = await cell.registry.storedBytes(tenantId);
    const quotaBytes = used + 1_000_000;
    const client = limited(quotaBytes);
    // A text that does not compress.
    const noise = () => ({
      text: Array.from({ length: 30_000 }, () => String.fromCharCode(33 + Math.random() * 90))
        .join("")
        .replace(/["\\]/g, "-"),
    });
    let written = 0;
    vi.useFakeTimers({ toFake: ["performance"] });
    for (; written < 200; written++) {
      const response = await client.post("/customers", { body: { name: `Customer ${written}`, customFields: noise() } });
      if (response.status === 413) break;
      expect(response.status, response.text).toBe(201);
      // The stored bytes are measured again when a second has passed.
      vi.advanceTimersByTime(100);
    }
    vi.useRealTimers();
    const stored = await cell.registry.storedBytes(tenantId);
    expect([written < 200, stored > quotaBytes, stored < quotaBytes + 3_000_000]).toEqual([true, true, true]);
    expect((await limited(stored * 2).post("/customers", { body: { name: "Raised" } })).status).toBe(201);
    expect((await admin.post("/customers", { body: { name: "Without one" } })).status).toBe(201);
  });

  test("is measured by few statements, and not at all where there is no quota", async () => {
    const measured = { times: 0 };
    const original = cell.registry.storedBytes.bind(cell.registry);
    cell.registry.storedBytes = (id) => {
      measured.times++;
      return original(id);
    };
    try {
      for (let index = 0; index < 30; index++) await admin.post("/customers", { body: { name: `Free ${index}` } });
      expect(measured.times).toBe(0);
      const client = limited(1_000_000_000);
      for (let index = 0; index < 30; index++) await client.post("/customers", { body: { name: `Held ${index}` } });
      expect(measured.times).toBe(1);
    } finally {
      cell.registry.storedBytes = original;
    }
  });
});
