import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import type { Permission } from "@cell/http";
import { beforeEach, describe, expect, test } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect } from "./testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
let customerId: string;
let opportunityId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = (await made("/customers", { name: "甲公司", contactPhone: "13800138000", contactEmail: "contact@example.com" })).customerId;
  await made("/contacts", { customerId, name: "王芳", phone: "13912345678" });
  for (const [amount, currency] of [
    ["120000.5", "CNY"],
    ["1200.6", "JPY"],
    ["7.1255", "KWD"],
  ] as const)
    ({ opportunityId } = await made("/opportunities", { customerId, name: `Deal in ${currency}`, amount, currency }));
  const { contractId } = await made("/contracts", { customerId, name: "合同", amount: "1000", status: "active" });
  await made("/payments", { contractId, amount: "400", paidAt: "2026-01-05" });
});

async function made(path: string, body: object) {
  const response = await admin.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

const caller = (...permissions: Permission[]) =>
  cell.client(tenantId, { permissions: ["crm:read", "crm:export", "report:read", ...permissions] });

interface Entry {
  action: string;
  resource_id: string;
  changes: { field: string; after: unknown }[];
}
let seen = 0;
/** The entries since the test began. */
const entries = () => inspect<Entry>(tenantId, "select * from $tenant.audit_logs where seq > $1 order by seq", [seen]);
beforeEach(async () => {
  const [last] = await inspect<{ seq: string }>(tenantId, "select max(seq) as seq from $tenant.audit_logs");
  seen = Number(last?.seq ?? 0);
});

describe("reveal=amount", () => {
  test.each([
    ["/opportunities", ["amount"]],
    ["/contracts", ["amount", "receivedAmount", "outstandingAmount", "paidRatio", "overpaid"]],
    ["/payments", ["amount", "overpaid"]],
    ["/opportunities/export", ["amount"]],
    ["history", ["amount"]],
  ])("clears %s with amount:read alone, and writes no entry for a record", async (path, fields) => {
    const at = path === "history" ? `/opportunities/${opportunityId}/stage-history` : path;
    const { data } = (await caller("amount:read").get(`${at}?reveal=amount`)).body;
    expect(data.length).toBeGreaterThan(0);
    for (const row of data) {
      expect(row._masked).toEqual([]);
      for (const field of fields) expect(row[field]).not.toBe("****");
    }
    expect((await caller("amount:read").get(at)).body.data[0]._masked).toEqual(fields);
    const written = (await entries()).map(({ action }) => action);
    expect(written).toEqual(path.endsWith("export") ? ["export", "export"] : []);
  });

  test("is refused without amount:read, whatever else the caller may", async () => {
    const other = caller("pii:read", "pii:reveal");
    for (const path of [
      "/contracts",
      "/opportunities/export",
      "/opportunities/export?format=csv",
      "/pipeline/summary",
      "/reports/funnel",
    ]) {
      const response = await other.get(`${path}${path.includes("?") ? "&" : "?"}reveal=amount`);
      expect([response.status, response.body.message]).toEqual([403, "This needs the permission amount:read"]);
    }
    expect(await entries()).toEqual([]);
  });

  test("of one field clears that one", async () => {
    const { data } = (await caller("amount:read").get("/contracts?reveal=receivedAmount,outstandingAmount")).body;
    expect(data[0]).toMatchObject({ amount: "****", receivedAmount: "400.00", outstandingAmount: "600.00" });
  });

  test("is no field where there are no amounts", async () => {
    const response = await admin.get("/customers?reveal=amount");
    expect([response.status, response.body.details.fields[0].path]).toEqual([400, "reveal"]);
  });

  test("gives a manager amounts in a CSV, each in the form of its currency, with the export's one entry", async () => {
    const lines = (await caller("amount:read").get("/opportunities/export?format=csv&sort=name&reveal=amount")).text.split("\r\n");
    const amount = (lines[0] ?? "").split(",").indexOf("amount");
    expect(lines.slice(1, 4).map((line) => line.split(",").slice(amount, amount + 2))).toEqual([
      ["120000.50", "CNY"],
      ["1201", "JPY"],
      ["7.126", "KWD"],
    ]);
    const [entry, ...more] = await entries();
    expect([entry?.action, more]).toEqual(["export", []]);
    expect(entry?.changes).toContainEqual({ field: "reveal", before: null, after: "amount" });
    expect((await caller("amount:read").get("/opportunities/export?format=csv")).text).not.toContain("120000");
  });

  test("makes a file that imports without a change", async () => {
    const own = cell.client(await cell.tenant());
    const { body } = await own.post("/customers", { body: { name: "Round trip" } });
    for (const currency of ["CNY", "JPY"])
      await own.post("/opportunities", { body: { customerId: body.customerId, name: currency, amount: "1200", currency } });
    const file = (await own.get("/opportunities/export?format=csv&reveal=amount")).text;
    const response = await own.post("/opportunities/import?mode=update", { raw: file, headers: { "content-type": "text/csv" } });
    expect(response.body).toMatchObject({ total: 2, skipped: 2, failed: 0 });
  });

  test("goes with reports, whose amounts are clear to who may read them, as JSON and as CSV", async () => {
    for (const path of ["/pipeline/summary", "/pipeline/funnel", "/reports/funnel", "/opportunities/forecast", "/metrics"]) {
      const response = await caller("amount:read").get(`${path}?reveal=amount`);
      expect([response.status, response.text.includes("****")]).toEqual([200, false]);
    }
    expect((await caller("amount:read").get("/reports/funnel?format=csv&reveal=amount")).text).not.toContain("****");
    expect(await entries()).toEqual([]);
  });
});

describe("reveal of personal data", () => {
  test("needs pii:reveal, and writes an entry for each record of a list, without the amounts", async () => {
    expect((await caller("pii:read", "amount:read").get("/customers?reveal=contactPhone")).status).toBe(403);
    const { data } = (await caller("pii:reveal").get("/customers?reveal=contactPhone,contactEmail")).body;
    expect(data[0]).toMatchObject({ contactPhone: "13800138000", contactEmail: "contact@example.com", _masked: [] });
    const written = await entries();
    expect(written.map(({ action, resource_id }) => [action, resource_id])).toEqual([["reveal", customerId]]);
    expect(written[0]?.changes.map(({ field }) => field)).toEqual(["contactPhone", "contactEmail"]);
  });

  test.each(["json", "csv"])("is named by the one entry of an export as %s", async (format) => {
    const path = `/customers/export?format=${format}&reveal=contactPhone`;
    expect((await caller("pii:read").get(path)).status).toBe(403);
    const response = await caller("pii:reveal").get(path);
    expect(response.text).toContain("13800138000");
    expect(response.text).not.toContain("contact@example.com");
    const [entry, ...more] = await entries();
    expect([entry?.action, more]).toEqual(["export", []]);
    expect(entry?.changes).toContainEqual({ field: "reveal", before: null, after: "contactPhone" });
  });
});
