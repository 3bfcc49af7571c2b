import { request } from "node:http";
import { type TestCell, type TestClient, testAssertionKeys } from "@cell/cell/testing/test-cell";
import { signAssertion } from "@cell/http";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { inspect } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  await admin.post("/customers/import", {
    body: {
      items: [
        {
          name: "甲, 公司",
          contactPhone: "+8613800138000",
          contactEmail: "contact@example.com",
          status: "active",
          tags: ["vip", "华南"],
          notes: "=1\r\n2",
        },
        { name: "-Beta", contactPhone: "13800138000", ownerId: "sales-1", customFields: { region: "east" } },
        { name: "Gamma", status: "inactive" },
      ],
    },
  });
});

const header =
  "customerId,tenantId,name,contactName,contactPhone,contactEmail,industry,level,source,status,ownerId,address,tags,notes,customFields,createdAt,updatedAt,version";

interface ExportEntry {
  resource_type: string;
  changes: { field: string; after: unknown }[];
}

const lastExport = async (): Promise<Record<string, unknown>> => {
  const [entry] = await inspect<ExportEntry>(
    tenantId,
    "select * from $tenant.audit_logs where action = 'export' order by seq desc limit 1",
  );
  return { resourceType: entry?.resource_type, ...Object.fromEntries(entry?.changes.map(({ field, after }) => [field, after]) ?? []) };
};

describe("the export as CSV", () => {
  test("the CSV export is a file of all matches in RFC 4180, masked, guarded against formulas, and audited", async () => {
    const response = await admin.get("/customers/export?format=csv&sort=name");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    expect(response.headers.get("content-disposition")).toMatch(/^attachment; filename="customers-\d{4}-\d\d-\d\d\.csv"$/);
    const lines = response.text.replace("=1\r\n2", "=1 2").split("\r\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]?.replace("\uFEFF", "")).toBe(header);
    const cells = `,${tenantId},'-Beta,,138****8000,,,,,lead,sales-1,,,,"{""region"":""east""}",`;
    expect(lines.slice(1, 4).join("\n")).toContain(cells);
    expect(response.text).toContain(`"甲, 公司",,'+86138****8000,c***@example.com,,,,active,user-001,,vip;华南,"'=1\r\n2",,`);
    expect(response.text).not.toContain("13800138000");
    expect(await lastExport()).toMatchObject({
      resourceType: "customer",
      format: "csv",
      sort: "name",
      rows: 3,
      completed: true,
      fields: header.split(","),
    });
  });

  test("the CSV export begins with a byte order mark by default, and has a header even without rows", async () => {
    const bytes = await fetchBytes("/customers/export?format=csv&keyword=nobody");
    expect([...bytes.subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
    expect(bytes.subarray(3).toString()).toBe(`${header}\r\n`);
    expect((await fetchBytes("/customers/export?format=csv&keyword=nobody&bom=false")).toString()).toBe(`${header}\r\n`);
    expect(await lastExport()).toMatchObject({ keyword: "nobody", rows: 0, completed: true });
  });

  test("the CSV export applies the list's filters and visibility, and rejects paging parameters", async () => {
    const filtered = await admin.get("/customers/export?format=csv&filter=status[in]:active,inactive&sort=-name");
    expect(filtered.text.match(/Gamma|甲|Beta/g)).toEqual(["Gamma", "甲"]);
    expect(await lastExport()).toMatchObject({ filter: "status[in]:active,inactive", rows: 2 });
    const sales = cell.client(tenantId, { userId: "sales-1", scope: "own" });
    expect((await sales.get("/customers/export?format=csv")).text.match(/Gamma|甲|Beta/g)).toEqual(["Beta"]);
    for (const parameter of ["page=1", "pageSize=5", "total=exact", "cursor="]) {
      expect((await admin.get(`/customers/export?format=csv&${parameter}`)).status).toBe(400);
    }
    const blind = cell.client(tenantId, { permissions: ["crm:export"] });
    expect((await blind.get("/customers/export?format=csv&sort=contactPhone")).body.code).toBe("FIELD_MASKED");
  });

  test.each([
    ["name[contains]:13800138000", "name[contains]:138****8000"],
    [
      'status[eq]:lead or (contactName[eq]:"contact@example.com" and level[in]:A,+8613800138000)',
      "status[eq]:lead or (contactName[eq]:c***@example.com and level[in]:A,+86138****8000)",
    ],
    ["tags[eq]:contact@example.com", "tags[eq]:c***@example.com"],
    ["createdAt[gte]:2026-01-31 and contactPhone[isNull]:false", "createdAt[gte]:2026-01-31 and contactPhone[isNull]:false"],
    ['name[eq]:"Black and White"', 'name[eq]:"Black and White"'],
  ])("with the filter %s is recorded without a phone number or an e-mail address, whatever field is compared", async (asked, recorded) => {
    await admin.get(`/customers/export?filter=${encodeURIComponent(asked)}`);
    expect(await lastExport()).toMatchObject({ filter: recorded });
  });

  test("the CSV export is one snapshot without a row limit: a slow reader gets each row once, even if deleted meanwhile", async () => {
    const other = await cell.tenant();
    await inspect(
      other,
      `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, address, custom_fields, created_at, updated_at, version)
        select gen_random_uuid(), 'N' || i, 'n' || i, 'lead', 'u', '{}', repeat('x', 1000), '{}', now(), now(), 1 from generate_series(1, 20000) i`,
    );
    const response = await fetch(`${cell.url}/customers/export?format=csv`, { headers: headersFor(other) });
    await inspect(other, "delete from $tenant.customers");
    expect((await cell.client(other).get("/customers")).body.total).toBe(0);
    const lines = (await response.text()).trim().split("\r\n");
    expect([lines.length, new Set(lines).size]).toEqual([20_001, 20_001]);
  });

  test("a CSV export whose client leaves is stopped and audited as incomplete", async () => {
    const other = await cell.tenant();
    await inspect(
      other,
      `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, address, custom_fields, created_at, updated_at, version)
        select gen_random_uuid(), 'N' || i, 'n' || i, 'lead', 'u', '{}', repeat('x', 2000), '{}', now(), now(), 1 from generate_series(1, 5000) i`,
    );
    await abandon(other, "/customers/export?format=csv");
    let entry: ExportEntry | undefined;
    while (!entry) [entry] = await inspect<ExportEntry>(other, "select * from $tenant.audit_logs where action = 'export'");
    const recorded = Object.fromEntries(entry.changes.map(({ field, after }) => [field, after]));
    expect(recorded.completed).toBe(false);
    expect(recorded.rows).toBeLessThan(5_000);
  });
});

describe("the export as JSON", () => {
  test("the JSON export is the list's page, audited with its rows", async () => {
    const page = await admin.get("/customers/export?pageSize=2&sort=name");
    expect(page.body).toEqual((await admin.get("/customers?pageSize=2&sort=name")).body);
    expect(await lastExport()).toMatchObject({ format: "json", rows: 2, completed: true });
    const revealed = await admin.get("/customers/export?reveal=contactPhone&sort=name");
    expect(revealed.text).toContain('"13800138000"');
  });
});

async function fetchBytes(path: string): Promise<Buffer> {
  const response = await fetch(cell.url + path, { headers: headersFor(tenantId) });
  return Buffer.from(await response.arrayBuffer());
}

function headersFor(tenant: string): Record<string, string> {
  const requestId = `req-${Math.random().toString(36).slice(2)}`;
  const principal = { ...admin.principal, tenantId: tenant };
  const caller = { principal, requestId, requestIdIsKey: false };
  return { "x-request-id": requestId, "x-cell-assertion": signAssertion(testAssertionKeys, "crm", caller, Math.floor(Date.now() / 1000)) };
}

/** Reads the beginning of an answer and leaves. */
function abandon(tenant: string, path: string): Promise<void> {
  return new Promise((resolve) => {
    const sent = request(cell.url + path, { headers: headersFor(tenant) }, (response) => {
      response.once("data", () => response.destroy());
      response.once("close", () => resolve());
      response.on("error", () => undefined);
    });
    sent.on("error", () => undefined);
    sent.end();
  });
}
