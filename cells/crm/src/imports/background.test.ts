import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { customerImport } from "../customers/imports/importer.ts";
import { importsMigration } from "../migrations/0003_imports.ts";
import { rowsTakenOver } from "../migrations/0011_imports.ts";
import { importCsv } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect, stagedRows } from "../testing/test-crm.ts";
import { batchSize } from "./apply.ts";
import { discard, step } from "./runner.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

const rows = (count: number, prefix = "Row") =>
  `name,contactPhone\n${Array.from({ length: count }, (_, index) => `${prefix} ${index},${index % 100 === 7 ? "?" : ""}\n`).join("")}`;
const upload = (text: string, query = "", key?: string): Promise<TestResponse> => importCsv(admin, `/customers/import${query}`, text, key);
const count = async (sql: string) => (await inspect<{ n: number }>(tenantId, `select count(*)::int as n from ${sql}`))[0]?.n;

async function finished(importId: string): Promise<TestResponse> {
  for (;;) {
    const response = await admin.get(`/imports/${importId}`);
    if (response.body.status !== "queued" && response.body.status !== "running") return response;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe("an import of many rows", () => {
  test("is answered with 202, goes on by itself, and its repeat is answered the same", async () => {
    const taken = await upload(rows(6_000), "", "large-1");
    expect([taken.status, Object.keys(taken.body)]).toEqual([202, ["importId", "status"]]);
    const seen = new Set<number>();
    for (let status = "queued"; status === "queued" || status === "running"; ) {
      const { body } = await admin.get(`/imports/${taken.body.importId}`);
      expect(body.created + body.updated + body.skipped + body.failed).toBe(body.done);
      seen.add(body.done);
      status = body.status;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(seen.size).toBeGreaterThan(1);
    const { body } = await finished(taken.body.importId);
    expect(body).toMatchObject({ status: "completed", total: 6_000, done: 6_000, created: 5_940, failed: 60, errorsTruncated: false });
    expect(await count("$tenant.customers")).toBe(5_940);
    expect(await count("$tenant.audit_logs where import_id is not null")).toBe(5_941);
    const again = await upload(rows(6_000), "", "large-1");
    expect([again.status, again.text]).toEqual([202, taken.text]);
    expect([await count("$tenant.imports"), await stagedRows(tenantId)]).toEqual([1, 6_000]);
  });

  test("that was interrupted goes on where it stood, without a row twice", async () => {
    const other = await cell.registry.tenant(tenantId);
    // Accepted by a process that ends: no runner is notified.
    const taken = await admin.post("/customers/import?async=true&dryRun=true", {
      raw: rows(2_500),
      headers: { "content-type": "text/csv" },
    });
    await finished(taken.body.importId);
    await inspect(
      tenantId,
      "update $tenant.imports set status = 'queued', done = 0, created = 0, failed = 0, options = options || '{\"dryRun\": false}'",
    );
    await inspect(tenantId, "delete from $tenant.import_failures where not by_itself");
    expect(await step(other, taken.body.importId, customerImport, batchSize.besideOthers)).toBe(true);
    expect(await count("$tenant.customers")).toBe(990);
    // Two processes find it at once.
    const runner = async () => {
      while (await step(other, taken.body.importId, customerImport, batchSize.besideOthers));
    };
    await Promise.all([runner(), runner()]);
    await runner();
    const { body } = await finished(taken.body.importId);
    expect(body).toMatchObject({ status: "completed", total: 2_500, created: 2_475, failed: 25 });
    expect(await count("$tenant.customers")).toBe(2_475);
    expect(await count("$tenant.audit_logs where import_id is not null and action <> 'import'")).toBe(2_475);
  });

  test("that is atomic is checked first, then done in one transaction, or not at all", async () => {
    const bad = await upload(rows(1_500), "?async=true&atomic=true");
    expect((await finished(bad.body.importId)).body).toMatchObject({
      status: "completed",
      total: 1_500,
      created: 0,
      skipped: 1_485,
      failed: 15,
    });
    expect(await count("$tenant.customers")).toBe(0);
    const good = await upload(rows(1_500).replaceAll("?", ""), "?async=true&atomic=true");
    expect((await finished(good.body.importId)).body).toMatchObject({ status: "completed", total: 1_500, created: 1_500, failed: 0 });
    expect(await count("$tenant.customers")).toBe(1_500);
    expect(await count("$tenant.audit_logs where action = 'create'")).toBe(1_500);
  });

  test("finds a name of an earlier step again, and reports the same as a dry run", async () => {
    const text = `${rows(1_200)}row 5,\nRow 1199,\n`;
    const dry = await finished((await upload(text, "?async=true&dryRun=true")).body.importId);
    const real = await finished((await upload(text, "?async=true")).body.importId);
    expect(real.body.errors).toEqual(dry.body.errors);
    expect([real.body.created, real.body.failed]).toEqual([dry.body.created, dry.body.failed]);
    expect(real.body.errors.at(-1)).toMatchObject({ row: 1_202, code: "DUPLICATE_IN_FILE", duplicateOf: 1_200 });
  });

  test("of few rows is put off too where its JSON asks for that", async () => {
    const taken = await admin.post("/customers/import", { body: { items: [{ name: "A" }], async: true } });
    expect([taken.status, taken.body.status]).toEqual([202, "queued"]);
    expect((await finished(taken.body.importId)).body).toMatchObject({ status: "completed", total: 1, done: 1, created: 1 });
  });

  test("without any row is completed", async () => {
    const { body } = await finished((await upload("name\n", "?async=true")).body.importId);
    expect(body).toMatchObject({ status: "completed", total: 0, done: 0, created: 0, failed: 0 });
  });

  test("that was put aside row by row is taken over where it stood", async () => {
    await admin.post("/customers", { body: { name: "Taken" } });
    const text = `${rows(1_100)}row 5,\nTaken,13800138000\nLast,\n`;
    const taken = await upload(text, "?async=true&dryRun=true");
    await finished(taken.body.importId);
    const other = await cell.registry.tenant(tenantId);
    const [createRows] = importsMigration.sql.filter((sql) => sql.includes("create table") && sql.includes("import_rows"));
    await inspect(tenantId, createRows?.replaceAll('"$tenant"', "$tenant") ?? "");
    await inspect(
      tenantId,
      `insert into $tenant.import_rows
       select import_id, (entry ->> 'row')::int, (entry ->> 'line')::int, md5(lower(entry -> 'data' ->> 'name')), null, true, entry -> 'data',
         (select came -> 'cells' from json_array_elements(batch.cells::json) as came where came ->> 'row' = entry ->> 'row'), null
       from $tenant.import_batches as batch, json_array_elements(batch.rows::json) as entry`,
    );
    await inspect(
      tenantId,
      `insert into $tenant.import_rows
       select import_id, row, line, case when row = 1101 then md5('row 5') end, null, row = 1101, case when row = 1101 then '{"name": "row 5"}'::json end,
         cells, case when row <> 1101 then errors end from $tenant.import_failures where by_itself`,
    );
    await inspect(
      tenantId,
      "update $tenant.imports set status = 'queued', done = 1000, created = 990, failed = 10, options = options || '{\"dryRun\": false}'",
    );
    const before = await stagedRows(tenantId);
    await inspect(tenantId, "delete from $tenant.import_batches; delete from $tenant.import_failures");
    for (const sql of rowsTakenOver) await inspect(tenantId, sql.replaceAll('"$tenant"', "$tenant"));
    expect(await stagedRows(tenantId)).toBe(before);
    expect(await step(other, taken.body.importId, customerImport, batchSize.besideOthers)).toBe(false);
    const { body } = await finished(taken.body.importId);
    expect(body).toMatchObject({ status: "completed", total: 1_103, done: 1_103, created: 1_090, failed: 13 });
    expect(body.errors.slice(-2)).toMatchObject([
      { row: 1_101, code: "DUPLICATE_IN_FILE", field: "name", duplicateOf: 6 },
      { row: 1_102, code: "DUPLICATE_NAME" },
    ]);
    expect(await count("$tenant.customers")).toBe(101);
  });

  test("of more than a million rows is refused, and leaves nothing", async () => {
    const response = await admin.post("/customers/import", { body: { items: Array(1_000_001).fill(0) } });
    expect([response.status, response.body.code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
    expect([await count("$tenant.imports"), await stagedRows(tenantId)]).toEqual([0, 0]);
  });

  test("that cannot go on has failed: what it has done stays, and can be taken back", async () => {
    await inspect(tenantId, "alter table $tenant.customers add constraint refused check (name <> 'Refused')");
    const taken = await upload(`${rows(1_200).replaceAll("?", "")}Refused,\n`, "?async=true");
    const { body } = await finished(taken.body.importId);
    expect(body).toMatchObject({ status: "failed", total: 1_201, created: body.done });
    expect(body.done).toBeGreaterThan(0);
    expect(await count("$tenant.customers")).toBe(body.done);
    expect(await count("$tenant.audit_logs where import_id is not null and action = 'create'")).toBe(body.done);
    const revert = await admin.post(`/imports/${taken.body.importId}/revert`);
    expect(revert.body).toMatchObject({ status: "reverted", reverted: body.done });
    expect(await count("$tenant.customers where deleted_at is null")).toBe(0);
  });

  test("is taken back in steps", async () => {
    const taken = await upload(rows(1_300).replaceAll("?", ""), "?async=true");
    await finished(taken.body.importId);
    const revert = await admin.post(`/imports/${taken.body.importId}/revert`);
    expect([revert.status, revert.body]).toEqual([202, { importId: taken.body.importId, status: "queued" }]);
    expect((await finished(taken.body.importId)).body.status).toBe("reverted");
    expect(await count("$tenant.customers where deleted_at is null")).toBe(0);
    expect((await admin.post(`/imports/${taken.body.importId}/revert`)).body).toMatchObject({
      status: "reverted",
      reverted: 1_300,
      skipped: [],
    });
  });

  test("leaves its rows for a day, then the file of errors is gone but the report stays", async () => {
    const { body } = await upload(rows(10));
    await discard(await cell.registry.tenant(tenantId), body.importId, false);
    expect(await stagedRows(tenantId)).toBe(0);
    expect((await admin.get(`/imports/${body.importId}/errors.csv`)).status).toBe(404);
    expect((await admin.get(`/imports/${body.importId}`)).body).toMatchObject({ failed: 1, errorFileUrl: null, errors: [{ row: 8 }] });
  });
});
