import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { importCounts, importCsv } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { auditOf, inspect, stagedRows } from "../testing/test-crm.ts";
import { mostJsonBytes } from "./upload.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

function csv(text: string | Uint8Array, query = "", client = admin, key?: string): Promise<TestResponse> {
  return importCsv(client, `/customers/import${query}`, text, key);
}
const json = (body: object, client = admin): Promise<TestResponse> => client.post("/customers/import", { body });
const codes = ({ body }: TestResponse) =>
  body.errors.map((error: { row: number; field: string; code: string }) => [error.row, error.field, error.code]);
const file = (url: string, client = admin) => client.get(url.replace("/api/v1/crm", ""));
const stored = (): Promise<Record<string, unknown>[]> =>
  inspect(tenantId, "select * from $tenant.customers where deleted_at is null order by name");
const count = async (sql: string) => (await inspect<{ n: number }>(tenantId, `select count(*)::int as n from ${sql}`))[0]?.n;

describe("a CSV file", () => {
  test("is read with Chinese headings, a byte order mark, quotes and line ends in cells, empty lines and formulas", async () => {
    const response = await csv(
      '\uFEFF客户名称,联系人,联系电话,邮箱,行业,级别,来源,状态,地址,标签,备注,自定义字段\r\n某某公司,张伟,13800138000,contact@example.com,制造业,A,官网,active,"深圳, 南山",vip|华南;老客户,"第一行\r\n第二行 ""引号""","{""region"":""east""}"\r\n\r\n,,,\r\n\'=1+1,\'@x,\'+8613800138000,,,,,,,,a"b,\r\n',
    );
    expect(response.status, response.text).toBe(200);
    expect(importCounts(response)).toEqual([2, 2, 0, 0, 0]);
    const [formula, company] = await stored();
    expect(formula).toMatchObject({
      name: "=1+1",
      contact_name: "@x",
      contact_phone: "+8613800138000",
      notes: 'a"b',
      status: "lead",
      tags: [],
      address: null,
    });
    expect(company).toMatchObject({
      name: "某某公司",
      contact_name: "张伟",
      contact_phone: "13800138000",
      contact_email: "contact@example.com",
      status: "active",
      owner_id: "user-001",
      address: "深圳, 南山",
      tags: ["vip", "华南", "老客户"],
      notes: '第一行\r\n第二行 "引号"',
      custom_fields: { region: "east" },
    });
  });

  test("may be in GBK, by its media type or by the query, and come in a form", async () => {
    const gbk = Buffer.concat([
      Buffer.from([0xbf, 0xcd, 0xbb, 0xa7, 0xc3, 0xfb, 0xb3, 0xc6]),
      Buffer.from("\n"),
      Buffer.from([0xc9, 0xee, 0xdb, 0xda, 0x0a]),
    ]);
    const typed = await admin.post("/customers/import?dryRun=true", { raw: gbk, headers: { "content-type": "text/csv; charset=gbk" } });
    expect(importCounts(typed)).toEqual([1, 1, 0, 0, 0]);
    const form = new FormData();
    form.append("file", new Blob([gbk], { type: "text/csv" }), "customers.csv");
    const wrapped = new Response(form);
    const headers = { "content-type": wrapped.headers.get("content-type") ?? "" };
    const response = await admin.post("/customers/import?charset=gbk", { raw: new Uint8Array(await wrapped.arrayBuffer()), headers });
    expect(importCounts(response), response.text).toEqual([1, 1, 0, 0, 0]);
    expect((await stored()).map(({ name }) => name)).toEqual(["深圳"]);
    const wrong = await csv(gbk);
    expect([wrong.status, wrong.body.code]).toEqual([400, "BAD_REQUEST"]);
    expect(await count("$tenant.imports")).toBe(2);
    expect(await stagedRows(tenantId)).toBe(2);
  });

  test("an upload that is not a valid CSV file is rejected as a whole, and leaves nothing", async () => {
    for (const text of ["", "nonsense,more\n1,2\n", "name,客户名称\na,b\n", 'name\n"open\n']) {
      const response = await csv(text);
      expect([response.status, response.body.code], text).toEqual([400, "BAD_REQUEST"]);
    }
    const formed = await admin.post("/customers/import", { raw: "x", headers: { "content-type": "multipart/form-data; boundary=b" } });
    expect(formed.status).toBe(400);
    const other = await admin.post("/customers/import", { raw: "x", headers: { "content-type": "text/csv; charset=utf-16" } });
    expect(other.status).toBe(415);
    expect(await count("$tenant.imports")).toBe(0);
    expect(await stagedRows(tenantId)).toBe(0);
    expect(importCounts(await csv("name\n"))).toEqual([0, 0, 0, 0, 0]);
  });

  test("an import reports every error of a row with its line; valid rows are imported", async () => {
    const response = await csv(
      `name,contactPhone,contactEmail,status,level,unknown\n"Good\none",,,,,\n,x,y,z,${"l".repeat(51)},\n好,138****8000,,,,\n,,,,,1,2\n`.replace(
        ",unknown",
        "",
      ),
    );
    expect(importCounts(response)).toEqual([4, 1, 0, 0, 3]);
    expect(response.body.errors.map(({ row, line, field, code }: Record<string, unknown>) => [row, line, field, code])).toEqual([
      [2, 4, "name", "REQUIRED"],
      [2, 4, "contactPhone", "INVALID_FORMAT"],
      [2, 4, "contactEmail", "INVALID_FORMAT"],
      [2, 4, "level", "TOO_LONG"],
      [2, 4, "status", "INVALID_ENUM"],
      [3, 5, "contactPhone", "MASKED_VALUE"],
      [4, 6, null, "INVALID_FORMAT"],
      [4, 6, null, "INVALID_FORMAT"],
      [4, 6, "name", "REQUIRED"],
    ]);
    const unknown = await csv("name,colour\nA,red\nB,\n");
    expect(codes(unknown)).toEqual([
      [1, "colour", "UNKNOWN_COLUMN"],
      [2, "colour", "UNKNOWN_COLUMN"],
    ]);
  });

  test("the failed rows of a CSV file can be downloaded, corrected and imported again", async () => {
    const first = await csv('客户名称,联系电话,备注\n甲,bad,"=x, ""y"""\n乙,13800138000,\n乙,,second\n');
    expect(importCounts(first)).toEqual([3, 1, 0, 0, 2]);
    const errors = await file(first.body.errorFileUrl);
    expect(errors.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    expect(errors.text.split("\r\n")[0]).toBe("客户名称,联系电话,备注,errors");
    expect(errors.text).toContain(`"'=x, ""y"""`);
    expect(errors.text).toContain("DUPLICATE_IN_FILE");
    const again = await csv(errors.text.replace("bad", "010-12345678").replace("乙", "丙"));
    expect(importCounts(again), again.text).toEqual([2, 2, 0, 0, 0]);
    expect((await stored()).map(({ name, notes }) => [name, notes])).toEqual(expect.arrayContaining([["甲", '=x, "y"']]));
    expect(again.body.errorFileUrl).toBeNull();
  });
});

describe("rows", () => {
  test("that are in the upload already fail with the row that was first, or are skipped", async () => {
    const items = [{ name: "ACME" }, { name: "x", contactPhone: "?" }, { name: " ａｃｍｅ " }, { name: "x" }];
    const response = await json({ items, dryRun: true });
    expect(response.body.errors[1]).toMatchObject({ row: 3, field: "name", code: "DUPLICATE_IN_FILE", duplicateOf: 1 });
    expect(importCounts(response)).toEqual([4, 2, 0, 0, 2]);
    expect(importCounts(await json({ items, onDuplicate: "skip" }))).toEqual([4, 2, 0, 1, 1]);
  });

  test("whose name exists fail with the record's id, are skipped, or update it", async () => {
    const { body: existing } = await admin.post("/customers", { body: { name: "Straße", notes: "old" } });
    const items = [{ name: "STRASSE", notes: "new" }];
    const refused = await json({ items });
    expect(refused.body.errors).toMatchObject([{ row: 1, field: "name", code: "DUPLICATE_NAME", duplicateOf: existing.customerId }]);
    expect(importCounts(await json({ items, onDuplicate: "skip" }))).toEqual([1, 0, 0, 1, 0]);
    expect(importCounts(await json({ items, onDuplicate: "update" }))).toEqual([1, 0, 1, 0, 0]);
    expect((await admin.get(`/customers/${existing.customerId}`)).body).toMatchObject({ name: "STRASSE", notes: "new", version: 2 });
  });

  test("are matched by id or name: upsert updates or creates, update needs a record, what changes nothing is skipped", async () => {
    const { body: a } = await admin.post("/customers", { body: { name: "A", contactPhone: "13800138000", tags: ["x"], industry: "old" } });
    const upserted = await json({
      mode: "upsert",
      items: [{ customerId: a.customerId, name: "A2" }, { name: "B" }, { customerId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10", name: "C" }],
    });
    expect(importCounts(upserted), upserted.text).toEqual([3, 2, 1, 0, 0]);
    const updated = await json({
      mode: "update",
      items: [
        { name: "a2", contactPhone: "138****8000", industry: null },
        { name: "nobody" },
        { name: "B", contactPhone: "139****0000" },
        { name: "C" },
      ],
    });
    expect(importCounts(updated)).toEqual([4, 0, 1, 1, 2]);
    expect(codes(updated)).toEqual([
      [2, "name", "NOT_FOUND"],
      [3, "contactPhone", "MASKED_VALUE"],
    ]);
    expect((await admin.get(`/customers/${a.customerId}`)).body).toMatchObject({
      name: "a2",
      contactPhone: "13800138000",
      industry: null,
      tags: ["x"],
    });
    const taken = await json({ mode: "update", matchBy: "customerId", items: [{ customerId: a.customerId, name: "B" }, { name: "C" }] });
    expect(codes(taken)).toEqual([
      [1, "name", "DUPLICATE_NAME"],
      [2, "customerId", "REQUIRED"],
    ]);
    expect(importCounts(await csv(`customerId,name,industry\n${a.customerId},,\n`, "?mode=upsert"))).toEqual([1, 0, 0, 1, 0]);
  });

  test("of an export of one's own change nothing, in any mode", async () => {
    const people = [
      { name: "=Formula", contactPhone: "+8613800138000", contactEmail: "ab@example.com", notes: "a\r\nb", tags: ["a;b", "c|d", "e\\f"] },
      { name: "'=quoted", contactPhone: "12345", address: "-x", customFields: { b: 1, a: [true, null] } },
      { name: 'Plain, "Ltd"', contactEmail: "contact@example.com", status: "inactive", level: "", ownerId: "user-007" },
    ];
    expect(importCounts(await json({ items: people }))).toEqual([3, 3, 0, 0, 0]);
    const before = await stored();
    const exported = await admin.get("/customers/export?format=csv");
    const page = await admin.get("/customers/export");
    for (const mode of ["create", "upsert", "update"]) {
      const response = await csv(exported.text, `?mode=${mode}`);
      expect(importCounts(response), response.text).toEqual([3, 0, 0, 3, 0]);
      expect(importCounts(await json({ mode, items: page.body.data }))).toEqual([3, 0, 0, 3, 0]);
    }
    expect(await stored()).toEqual(before);
  });

  test("of who works on its own records become its own, and touch no other's", async () => {
    const { body: foreign } = await admin.post("/customers", { body: { name: "Foreign", ownerId: "someone" } });
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    const items = [
      { name: "Mine" },
      { name: "Given", ownerId: "someone" },
      { customerId: foreign.customerId, name: "Foreign", notes: "x" },
    ];
    const response = await json({ mode: "upsert", items }, sales);
    expect(importCounts(response)).toEqual([3, 1, 0, 0, 2]);
    expect(response.body.errors).toMatchObject([
      { row: 2, field: "ownerId", code: "INVALID_FORMAT" },
      { row: 3, field: "name", code: "DUPLICATE_NAME", duplicateOf: null },
    ]);
    expect((await stored()).map(({ name, owner_id }) => [name, owner_id])).toEqual([
      ["Foreign", "someone"],
      ["Mine", "sales-1"],
    ]);
    expect((await sales.get(`/imports/${response.body.importId}`)).status).toBe(200);
    expect((await cell.client(tenantId, { userId: "sales-2", scope: "own" }).get(`/imports/${response.body.importId}`)).status).toBe(404);
  });
});

describe("an import", () => {
  const mixed = "name,contactPhone\nA,\nA,\nB,?\nC,13800138000\n";

  test("a dry run reports the same and writes nothing", async () => {
    const dry = await csv(mixed, "?dryRun=true");
    expect([await count("$tenant.customers"), await count("$tenant.audit_logs where action <> 'import'")]).toEqual([0, 0]);
    const real = await csv(mixed);
    const same = ({
      body: { importId: _id, dryRun: _dry, errorFileUrl: _url, createdAt: _at, finishedAt: _end, ...report },
    }: TestResponse) => report;
    expect(same(dry)).toEqual(same(real));
    expect([dry.body.dryRun, real.body.dryRun]).toEqual([true, false]);
    expect((await file(dry.body.errorFileUrl)).text).toBe((await file(real.body.errorFileUrl)).text);
    expect((await admin.post(`/imports/${dry.body.importId}/revert`)).status).toBe(409);
  });

  test("an atomic import applies all rows or none", async () => {
    const refused = await csv(mixed, "?atomic=true");
    expect(importCounts(refused)).toEqual([4, 0, 0, 2, 2]);
    expect(await count("$tenant.customers")).toBe(0);
    expect(importCounts(await csv("name\nA\nB\n", "?atomic=true"))).toEqual([2, 2, 0, 0, 0]);
    expect(await count("$tenant.customers")).toBe(2);
  });

  test("an import leaves one audit entry of its own and one per record", async () => {
    await admin.post("/customers", { body: { name: "B", industry: "old" } });
    const { body } = await csv("name,industry\nA,new\nB,new\nC,\n", "?mode=upsert&onDuplicate=skip");
    const entries = await inspect<{
      action: string;
      resource_name: string;
      changes: { field: string; before: unknown; after: unknown }[];
      import_id: string;
    }>(tenantId, "select * from $tenant.audit_logs where import_id is not null order by action, resource_name");
    expect(entries.map(({ action, resource_name }) => [action, resource_name])).toEqual([
      ["create", "A"],
      ["create", "C"],
      ["import", null],
      ["update", "B"],
    ]);
    expect(entries.every(({ import_id }) => import_id === body.importId)).toBe(true);
    expect(entries[3]?.changes).toEqual([{ field: "industry", before: "old", after: "new" }]);
    expect(entries[2]?.changes).toEqual(expect.arrayContaining([{ field: "created", before: null, after: 2 }]));
    expect(await auditOf(tenantId, body.importId)).toHaveLength(1);
  });

  test("that is repeated under its key answers the same and does nothing, also in another wrapping; another file is refused", async () => {
    const first = await csv(mixed, "", admin, "import-1");
    const again = await csv(mixed, "", admin, "import-1");
    expect(again.text).toBe(first.text);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    const wrapped = (boundary: string) => ({
      raw: `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n${mixed}\r\n--${boundary}--\r\n`,
      headers: { "content-type": `multipart/form-data; boundary=${boundary}` },
      key: "import-1",
    });
    for (const boundary of ["one", "two"]) expect((await admin.post("/customers/import", wrapped(boundary))).text).toBe(first.text);
    const other = await csv(`${mixed}D,\n`, "", admin, "import-1");
    expect([other.status, other.body.details.reason]).toEqual([409, "PAYLOAD_MISMATCH"]);
    expect([await count("$tenant.imports"), await stagedRows(tenantId), await count("$tenant.customers")]).toEqual([1, 4, 2]);
  });

  test("tells the audit trail what the records hold, whatever the characters, before its own entry", async () => {
    const notes = 'a\\b\t"c"\\n\nd\r\\N';
    const { body } = await json({ items: [{ name: "A\\N", notes }] });
    const [row] = await stored();
    expect(row).toMatchObject({ name: "A\\N", notes });
    const [entry] = await auditOf(tenantId, String(row?.customer_id));
    expect(entry?.changes).toEqual(expect.arrayContaining([{ field: "notes", before: null, after: notes }]));
    expect(await inspect(tenantId, "select action, resource_name, import_id::text from $tenant.audit_logs order by seq")).toEqual([
      { action: "create", resource_name: "A\\N", import_id: body.importId },
      { action: "import", resource_name: null, import_id: body.importId },
    ]);
  });

  test("of the same names at the same time has each of them once: in the others, they fail", async () => {
    const names = (from: number) => ({ items: Array.from({ length: 700 }, (_, index) => ({ name: `Same ${from + index}` })) });
    const responses = await Promise.all([json(names(0)), json(names(300)), json(names(300))]);
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(responses.reduce((sum, { body }) => sum + body.created, 0)).toBe(1_000);
    expect(await count("$tenant.customers where deleted_at is null")).toBe(1_000);
    expect(await count("$tenant.audit_logs where action = 'create'")).toBe(1_000);
    for (const { body } of responses) {
      expect(body.failed).toBe(700 - body.created);
      expect(body.errors.every(({ code }: { code: string }) => code === "DUPLICATE_NAME")).toBe(true);
    }
  });

  test("keeps the cells of rows that fail by what is stored, as they came", async () => {
    await json({ items: [{ name: "Known" }] });
    const { body } = await csv("name,notes,errors\nNew,x,\n Known , y ,old\n");
    expect(codes({ body } as TestResponse)).toEqual([[2, "name", "DUPLICATE_NAME"]]);
    const errors = await file(body.errorFileUrl);
    expect(errors.text.split("\r\n")[1]).toBe(" Known , y ,name: DUPLICATE_NAME is the name of an existing customer");
  });

  test("an import report has the first 100 errors, the rest are in its file", async () => {
    const response = await csv(`name,contactPhone\n${Array.from({ length: 150 }, (_, index) => `N${index},?\n`).join("")}`);
    expect([response.body.errors.length, response.body.errorsTruncated]).toEqual([100, true]);
    expect((await file(response.body.errorFileUrl)).text.trim().split("\r\n")).toHaveLength(151);
  });

  test("in JSON of more than 16 MB is sent to CSV", async () => {
    const response = await admin.post("/customers/import", {
      raw: " ".repeat(mostJsonBytes + 1),
      headers: { "content-type": "application/json" },
    });
    expect([response.status, response.body.code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
    expect(response.body.message).toContain("CSV");
  });

  test("an import loses no row when others take the same names concurrently", async () => {
    const text = `name\n${Array.from({ length: 300 }, (_, index) => `Same ${index}\n`).join("")}`;
    const responses = await Promise.all([csv(text), csv(text), csv(text)]);
    const done = responses.filter(({ status }) => status === 200);
    expect(done.length).toBeGreaterThan(0);
    for (const response of done) expect(response.body.created + response.body.failed).toBe(300);
    expect(done.reduce((sum, { body }) => sum + body.created, 0)).toBe(300);
    expect(await count("$tenant.customers")).toBe(300);
  });
});

describe("reverting", () => {
  test("deletes what was created and restores what was updated, unless it was changed since; a repeat answers the same", async () => {
    const { body: existing } = await admin.post("/customers", {
      body: { name: "Old", industry: "before", tags: ["a"], contactPhone: "13800138000" },
    });
    const imported = await json({
      mode: "upsert",
      items: [
        { customerId: existing.customerId, name: "New", industry: "after", tags: [], contactPhone: "13900139000" },
        { name: "Made" },
        { name: "Touched" },
        { name: "Gone" },
      ],
    });
    expect(importCounts(imported)).toEqual([4, 3, 1, 0, 0]);
    const list = (await admin.get("/customers")).body.data as { customerId: string; name: string }[];
    const idOf = (name: string) => list.find((one) => one.name === name)?.customerId ?? "";
    await admin.patch(`/customers/${idOf("Touched")}`, { body: { notes: "by hand" } });
    await admin.delete(`/customers/${idOf("Gone")}`);

    const path = `/imports/${imported.body.importId}/revert`;
    const reverted = await admin.post(path);
    expect(reverted.body).toEqual({
      importId: imported.body.importId,
      status: "reverted",
      reverted: 2,
      skipped: expect.arrayContaining([
        { customerId: idOf("Touched"), reason: "CHANGED_SINCE" },
        { customerId: idOf("Gone"), reason: "DELETED_SINCE" },
      ]),
    });
    expect(
      (await stored()).map(({ name, industry, tags, contact_phone, version }) => [name, industry, tags, contact_phone, version]),
    ).toEqual([
      ["Old", "before", ["a"], "13800138000", 3],
      ["Touched", null, [], null, 2],
    ]);
    expect((await admin.post(path)).body).toEqual(reverted.body);
    expect((await admin.get(`/imports/${imported.body.importId}`)).body.status).toBe("reverted");
    expect((await auditOf(tenantId, imported.body.importId)).map(({ action }) => action)).toEqual(["import", "restore"]);
    expect((await auditOf(tenantId, idOf("Made"))).map(({ action }) => action)).toEqual(["create", "delete"]);
  });

  test("a revert skips a record whose former name is taken now", async () => {
    const { body: existing } = await admin.post("/customers", { body: { name: "Former" } });
    const imported = await json({ mode: "update", items: [{ customerId: existing.customerId, name: "Renamed" }] });
    await admin.post("/customers", { body: { name: "Former" } });
    const reverted = await admin.post(`/imports/${imported.body.importId}/revert`);
    expect(reverted.body).toMatchObject({ reverted: 0, skipped: [{ customerId: existing.customerId, reason: "DUPLICATE_NAME" }] });
  });
});
