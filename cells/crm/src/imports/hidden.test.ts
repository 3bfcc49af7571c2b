import { setTimeout as sleep } from "node:timers/promises";
import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { allPermissions } from "../permissions.ts";
import { importCounts, importCsv } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;
/** May import, and read neither phones and e-mails nor amounts. */
let blind: TestClient;

const without = (...missing: string[]) => ({ permissions: allPermissions.filter((permission) => !missing.includes(permission)) });

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
  blind = cell.client(tenantId, without("pii:read", "pii:reveal", "amount:read"));
});

async function imported(client: TestClient, path: string, query: string, csv: string): Promise<TestResponse> {
  const response = await importCsv(client, `${path}/import${query}`, csv);
  expect(response.status, response.text).toBeLessThan(300);
  if (response.status !== 202) return response;
  for (;;) {
    const report = await client.get(`/imports/${response.body.importId}`);
    if (report.body.finishedAt) return report;
    await sleep(20);
  }
}
const file = (client: TestClient, { body }: TestResponse) => client.get(body.errorFileUrl.replace("/api/v1/crm", ""));

describe("what becomes of a row does not tell its importer whether a record holds a value that it may not read", () => {
  const resources = {
    "/customers": {
      id: "customerId",
      record: { contactPhone: "13800138000", contactEmail: "contact@example.com", industry: "x" },
      guesses: [
        ["contactPhone", "13800138000", "13800138001"],
        ["contactEmail", "contact@example.com", "conduct@example.com"],
      ],
    },
    "/opportunities": { id: "opportunityId", record: { amount: "120000" }, guesses: [["amount", "120000.00", "120000.01"]] },
  };
  const cases = Object.entries(resources).flatMap(([path, { id, record, guesses }]) =>
    guesses.map(([field, right, wrong]) => ({ path, id, record, field, right, wrong })),
  );
  const variants = ["update", "upsert", "create"].flatMap((mode) =>
    [false, true].flatMap((dryRun) => [false, true].map((isAsync) => ({ mode, dryRun, isAsync }))),
  );

  test.each(cases)("$path $field, in every mode, dry or not, at once or later", { timeout: 60_000 }, async (given) => {
    const { path, id, record, field, right, wrong } = given;
    const customerId = (await admin.post("/customers", { body: { name: "Buyer" } })).body.customerId;
    const seen = async (name: string, guess: string | undefined, { mode, dryRun, isAsync }: (typeof variants)[number]) => {
      const more = path === "/customers" ? {} : { customerId };
      const before = (await admin.post(path, { body: { name, ...record, ...more } })).body;
      const query = `?mode=${mode}&dryRun=${dryRun}&async=${isAsync}`;
      const response = await imported(blind, path, query, `${id},name,${field}\n${before[id]},${name},${guess}\n`);
      const asOf = path === "/customers" ? "" : `&asOf=${new Date().toISOString()}`;
      const after = (await blind.get(`${path}?filter=${id}[eq]:${before[id]}${asOf}`)).body.data[0];
      const entries = (await blind.get(`/audit-logs?resourceId=${before[id]}`)).body.data;
      const revert = await blind.post(`/imports/${response.body.importId}/revert`);
      const reverted = (await blind.get(`${path}?filter=${id}[eq]:${before[id]}${asOf}`)).body.data[0];
      const undone = (await blind.get(`/audit-logs?resourceId=${before[id]}`)).body.data;
      const shape = (list: { action: string; changes: { field: string }[] }[]) =>
        list.map(({ action, changes }) => [action, changes.map((change) => change.field)]);
      return {
        counts: importCounts(response),
        errors: response.body.errors.map(({ code, field: at }: { code: string; field: string }) => [code, at]),
        version: after.version,
        isTouched: after.updatedAt !== before.updatedAt,
        entries: shape(entries),
        revert: [revert.status, revert.body.reverted, revert.body.skipped],
        reverted: [reverted.version, reverted.updatedAt !== after.updatedAt],
        undone: shape(undone),
      };
    };
    for (const [index, variant] of variants.entries()) {
      const [hit, miss] = [await seen(`Hit ${index}`, right, variant), await seen(`Miss ${index}`, wrong, variant)];
      expect(hit, JSON.stringify(variant)).toEqual(miss);
      expect(hit.counts).toEqual(variant.mode === "create" ? [1, 0, 0, 0, 1] : [1, 0, 1, 0, 0]);
      if (!variant.dryRun && variant.mode !== "create") expect([hit.version, hit.isTouched]).toEqual([2, true]);
    }
  });

  test("a row without such a value, or with what its masked one is, is compared; so are the rows of who may read it", async () => {
    const { customerId } = (await admin.post("/customers", { body: { name: "A", contactPhone: "13800138000", industry: "x" } })).body;
    const head = "customerId,name,contactPhone,industry\n";
    expect(importCounts(await imported(blind, "/customers", "?mode=update", `${head}${customerId},A,,x\n`))).toEqual([1, 0, 0, 1, 0]);
    expect(importCounts(await imported(blind, "/customers", "?mode=update", `${head}${customerId},A,138****8000,x\n`))).toEqual([
      1, 0, 0, 1, 0,
    ]);
    expect(importCounts(await imported(admin, "/customers", "?mode=update", `${head}${customerId},A,13800138000,x\n`))).toEqual([
      1, 0, 0, 1, 0,
    ]);
    const emptied = await blind.post("/customers/import", { body: { mode: "update", items: [{ customerId, contactEmail: null }] } });
    expect(importCounts(emptied)).toEqual([1, 0, 0, 1, 0]);
  });

  test("what it may read of two kinds is compared, the other is not", async () => {
    const half = cell.client(tenantId, without("amount:read"));
    const { customerId } = (await admin.post("/customers", { body: { name: "A", contactPhone: "13800138000" } })).body;
    const { opportunityId } = (await admin.post("/opportunities", { body: { name: "O", customerId, amount: "5" } })).body;
    const phone = `customerId,contactPhone\n${customerId},13800138000\n`;
    expect(importCounts(await imported(half, "/customers", "?mode=update", phone))).toEqual([1, 0, 0, 1, 0]);
    const amount = `opportunityId,amount\n${opportunityId},5\n`;
    expect(importCounts(await imported(half, "/opportunities", "?mode=update", amount))).toEqual([1, 0, 1, 0, 0]);
  });
});

test("a dry run leaves an entry of its own in the audit trail, without values, and calls no webhook", async () => {
  for (const query of ["?dryRun=true", "?dryRun=true&async=true", "?dryRun=true&atomic=true"]) {
    const response = await imported(blind, "/customers", query, "name,contactPhone\nA,13800138000\nB,?\n");
    const [entry, ...more] = (await admin.get(`/audit-logs?resourceId=${response.body.importId}`)).body.data;
    expect(more).toEqual([]);
    expect(entry).toMatchObject({ action: "import", resourceType: "import", actorId: blind.principal.userId });
    expect(entry.changes).toEqual(expect.arrayContaining([{ field: "dryRun", before: null, after: true }]));
    expect(JSON.stringify(entry)).not.toContain("13800138000");
  }
  expect(await inspect(tenantId, "select from $tenant.audit_logs where resource_type = 'customer'")).toEqual([]);
});

describe("the file of failed rows", () => {
  const csv = [
    "名称,电话,邮箱,行业,级别,Mobile",
    "Bad,13800138000 x,contact@example.com,i,A,13900139000",
    '"Shifted, Ltd",a,b,c,d,e,13700137000',
    "Masked,138****8000,c***@example.com,i,A,",
    "Formula,'+8613800138000,not an address 13800138000,i,A,",
  ].join("\n");

  test("shows what its reader may read: the same to who reads it all, masked values to the others", async () => {
    const response = await imported(admin, "/customers", "?dryRun=true", csv);
    expect(response.body.failed).toBe(4);
    const clear = (await file(admin, response)).text;
    for (const value of ["13800138000 x", "contact@example.com", "13900139000", "'+8613800138000", "not an address 13800138000"])
      expect(clear).toContain(value);
    const masked = await file(blind, response);
    expect(masked.text).not.toMatch(/13800138000|13900139000|13700137000|contact@/);
    const rows = masked.text
      .trim()
      .split("\r\n")
      .map((line) => line.split(",").slice(0, 6).join(","));
    expect(rows.slice(1)).toEqual([
      "Bad,138****8000,c***@example.com,i,A,***",
      "***,***,***,***,***,***",
      "Masked,138****8000,c***@example.com,i,A,",
      "Formula,'+86138****8000,***,i,A,",
    ]);
    const half = cell.client(tenantId, without("amount:read"));
    expect((await file(half, response)).text).toBe(clear);
  });

  test("is masked for amounts by amount:read, and for JSON as for CSV", async () => {
    const items = [{ name: "O", customerName: "Nobody", amount: "123456.78", phone: "13800138000" }];
    for (const dryRun of [true, false]) {
      const response = await admin.post("/opportunities/import", { body: { items, dryRun } });
      expect(response.body.failed).toBe(1);
      expect((await file(admin, response)).text).toContain("O,Nobody,123456.78,13800138000,");
      expect((await file(blind, response)).text).toContain("O,Nobody,****,***,");
    }
  });

  test("and the errors of the report show no value that stands where a heading should", async () => {
    const response = await imported(admin, "/customers", "", "name,13800138000,contact@example.com\nA,1,2\n");
    const fields = ({ body }: TestResponse) => body.errors.map(({ field }: { field: string }) => field);
    expect(fields(response)).toEqual(["13800138000", "contact@example.com"]);
    expect(fields(await blind.get(`/imports/${response.body.importId}`))).toEqual(["***", "***"]);
    expect((await file(blind, response)).text).toMatch(/^name,\*\*\*,\*\*\*,errors\r\n/);
    expect((await file(blind, response)).text).not.toMatch(/13800138000|contact@/);
  });
});

describe("an id in a report", () => {
  test("is there only while its reader may read the record: in the answer, its repeat, the report, and after a revert", async () => {
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const mine = (await sales.post("/customers", { body: { name: "Mine" } })).body.customerId;
    const request = { body: { items: [{ name: "mine" }] }, key: "import-1" };
    const first = await sales.post("/customers/import", request);
    const ids = ({ body }: TestResponse) => body.errors.map(({ duplicateOf }: { duplicateOf: string | null }) => duplicateOf);
    expect(ids(first)).toEqual([mine]);
    expect((await sales.post("/customers/import", request)).text).toBe(first.text);
    const updated = await sales.post("/customers/import", { body: { mode: "update", items: [{ customerId: mine, industry: "x" }] } });
    await admin.patch(`/customers/${mine}`, { body: { ownerId: "sales-2" } });
    const again = await sales.post("/customers/import", request);
    expect([again.headers.get("idempotency-replayed"), ids(again)]).toEqual(["true", [null]]);
    expect(ids(await sales.get(`/imports/${first.body.importId}`))).toEqual([null]);
    expect(ids(await admin.get(`/imports/${first.body.importId}`))).toEqual([mine]);
    const revert = await sales.post(`/imports/${updated.body.importId}/revert`);
    expect(revert.body.skipped).toEqual([{ reason: "CHANGED_SINCE" }]);
    const importer = cell.client(tenantId, { permissions: ["crm:import"] });
    expect(ids(await importer.post("/customers/import", request))).toEqual([null]);
  });
});
