import { randomUUID } from "node:crypto";
import { request } from "node:http";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect, type TestCrm } from "./testing/test-crm.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;
let customerId: string;
let contractId: string;

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  customerId = (await made("/customers", { name: "Of unusual input" })).customerId;
  contractId = (await made("/contracts", { customerId, name: "Contract", amount: "1000", status: "active" })).contractId;
});

async function made(path: string, body: object) {
  const response = await admin.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

const unique = () => randomUUID().slice(0, 8);
const paths = ({ body }: TestResponse) => (body.details?.fields ?? []).map(({ path }: { path: string }) => path);
/** The message for the first bad field. */
const says = ({ body }: TestResponse) => body.details?.fields?.[0]?.message as string;

describe("a message says what would be right:", () => {
  const bodies: [string, object, string][] = [
    ["/opportunities", { amount: null }, "must be a string or a number"],
    ["/opportunities", { amount: true }, "must be a string or a number"],
    ["/opportunities", { customerId: "abc" }, "must be a UUID such as 0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"],
    ["/opportunities", { currency: "cny" }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
    ["/opportunities", { currency: "XQQ" }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
    ["/contracts", { currency: "cny" }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
    ["/payments", { currency: "cny" }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
    ["/customers", { tags: Array.from({ length: 51 }, (_, index) => `t${index}`) }, "must have at most 50 entries"],
    ["/customers", { customFields: [] }, "must be an object"],
    ["/customers", { name: "ﷺ".repeat(255) }, "is too long: it may have at most 2600 bytes in the form in which it is compared"],
    ["/contacts", { isPrimary: "yes" }, "must be true or false"],
    ["/pipelines", { stages: [] }, "must have at least 3 entries"],
    ["/webhooks", { events: [] }, "must have at least 1 entry"],
  ];
  const valid: Record<string, () => object> = {
    "/opportunities": () => ({ customerId, name: "x" }),
    "/contracts": () => ({ customerId, name: "x", amount: "1" }),
    "/payments": () => ({ contractId, amount: "1", paidAt: "2026-01-31" }),
    "/customers": () => ({ name: unique() }),
    "/contacts": () => ({ customerId, name: "x" }),
    "/pipelines": () => ({ name: "x", stages: [] }),
    "/webhooks": () => ({ url: "https://hooks.example.com/", events: ["*"] }),
  };

  test.each(bodies)("%s %j", async (path, fields, message) => {
    const response = await admin.post(path, { body: { ...valid[path]?.(), ...fields } });
    expect([response.status, says(response)], response.text).toEqual([400, message]);
  });

  test.each([
    [{ rates: { ZZZ: "1" } }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
    [{ rates: [] }, "must be an object"],
    [{ stuckAfterDays: 1.5 }, "must be a whole number"],
    [{ region: "ZZ" }, "must be a country whose phone numbers are known, such as CN, DE or US"],
    [{ currency: "cny" }, "must be a currency code of ISO 4217 in three capitals, such as CNY, EUR or USD"],
  ])("of settings %j", async (body, message) => {
    const response = await admin.patch("/settings", { body });
    expect([response.status, says(response)], response.text).toEqual([400, message]);
  });

  test("of rows, in the report of an import too", async () => {
    const items = [
      { stageHistory: [1] },
      { stageHistory: ["won"] },
      { stageHistory: [{ stage: "won", enteredAt: "yesterday" }] },
      { amount: true },
      { customerId: "abc" },
    ];
    const { body } = await admin.post("/opportunities/import", {
      body: { items: items.map((item) => ({ name: "x", customerId, ...item })) },
    });
    expect(body.errors.map(({ field, message }: { field: string; message: string }) => `${field} ${message}`)).toEqual([
      "stageHistory must be an object or a string",
      "stageHistory is not of the form stage@2026-01-31",
      expect.stringContaining("stageHistory must be a date (2026-01-31) or a time"),
      "amount must be a string or a number",
      "customerId must be a UUID such as 0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10",
    ]);
  });

  test("of a body as a whole, with a subject", async () => {
    for (const body of [null, [], "x"])
      expect((await admin.patch(`/customers/${customerId}`, { body })).body.message).toBe("The body must be an object");
    expect((await admin.post("/lookup", { body: {} })).body.message).toBe("The body needs either a phone or an email");
  });

  test("of a report's time, with the years that it takes", async () => {
    for (const path of ["/metrics", "/pipeline/summary", "/pipeline/funnel", "/reports/funnel", "/opportunities/forecast"])
      expect(says(await admin.get(`${path}?asOf=3000-01-01`))).toContain("from 1900 to 2999");
  });

  test("and of a thousand bad fields with long names, some of them in short", async () => {
    const names = Array.from({ length: 900 }, (_, index) => `k${index}${"x".repeat(900)}`);
    const response = await admin.patch(`/customers/${customerId}`, { body: Object.fromEntries(names.map((name) => [name, 1])) });
    expect([response.status, paths(response).length]).toEqual([400, 100]);
    expect(response.body.message).toContain("(and 899 more)");
    expect(response.text.length).toBeLessThan(64 * 1024);
  });
});

describe("what is not taken is refused, never passed over:", () => {
  const commands: (() => Promise<[method: string, path: string]>)[] = [
    async () => ["DELETE", `/customers/${(await made("/customers", { name: unique() })).customerId}`],
    async () => ["POST", `/customers/${customerId}/restore`],
    async () => ["DELETE", `/contacts/${(await made("/contacts", { customerId, name: "x" })).contactId}`],
    async () => ["DELETE", `/opportunities/${(await made("/opportunities", { customerId, name: "x" })).opportunityId}`],
    async () => ["DELETE", `/contracts/${(await made("/contracts", { customerId, name: "x", amount: 1 })).contractId}`],
    async () => {
      const { body } = await admin.post("/customers/import", { body: { items: [{ name: unique() }] } });
      return ["POST", `/imports/${body.importId}/revert`];
    },
    async () => ["POST", `/webhooks/${await webhook()}/test`],
    async () => ["POST", `/webhooks/${await webhook()}/rotate-secret`],
    async () => ["DELETE", `/webhooks/${await webhook()}`],
  ];
  const webhook = async () => (await made("/webhooks", { url: "https://hooks.example.com/", events: ["*"] })).webhookId;

  test.each(commands)("fields in the body of a route that takes none (%#)", async (target) => {
    const [method, path] = await target();
    const before = await entries();
    for (const key of [undefined, unique()]) {
      const refused = await admin.send(method, path, { body: { dryRun: true }, ...(key === undefined ? {} : { key }) });
      expect([refused.status, paths(refused)], refused.text).toEqual([400, ["dryRun"]]);
      const broken = await admin.send(method, path, { raw: "{", headers: { "content-type": "application/json" } });
      expect(broken.status).toBe(400);
    }
    expect(await entries()).toBe(before);
    expect((await admin.send(method, path, { body: {} })).status).toBeLessThan(300);
  });

  const entries = async () =>
    (await inspect<{ count: number }>(tenantId, "select count(*)::int as count from $tenant.audit_logs"))[0]?.count ?? 0;

  test("options of an import that contradict each other in query and body", async () => {
    const name = unique();
    for (const [query, body, path] of [
      ["dryRun=true", { dryRun: false }, "dryRun"],
      ["mode=update", { mode: "create" }, "mode"],
      ["async=false", { async: true }, "async"],
    ] as const) {
      const refused = await admin.post(`/customers/import?${query}`, { body: { items: [{ name }], ...body } });
      expect([refused.status, paths(refused)]).toEqual([400, [path]]);
    }
    expect((await admin.get(`/customers?filter=name[eq]:${name}`)).body.total).toBe(0);
    const agreed = await admin.post("/customers/import?dryRun=true", { body: { items: [{ name }], dryRun: true } });
    expect(agreed.body).toMatchObject({ created: 1, dryRun: true });
  });

  test("tags that a merge has no room for, as its custom fields", async () => {
    const tags = (letter: string) => Array.from({ length: 40 }, (_, index) => `${letter}${index}`);
    const survivor = await made("/customers", { name: unique(), tags: tags("a") });
    const source = await made("/customers", { name: unique(), tags: tags("b") });
    const refused = await admin.post(`/customers/${survivor.customerId}/merge`, { body: { sourceIds: [source.customerId] } });
    expect([refused.status, refused.body.code, refused.body.details]).toEqual([409, "CONFLICT", { field: "tags" }]);
    expect((await admin.get(`/customers/${source.customerId}`)).status).toBe(200);
    await admin.patch(`/customers/${source.customerId}`, { body: { tags: ["a1", "b1"] } });
    const merged = await admin.post(`/customers/${survivor.customerId}/merge`, { body: { sourceIds: [source.customerId] } });
    expect(merged.body.tags).toEqual([...tags("a"), "b1"]);
  });

  test("a backslash at the end of a list's cell", async () => {
    const name = unique();
    await admin.post("/customers/import", { raw: `name,tags\n${name},a;b\\\n`, headers: { "content-type": "text/csv" } });
    expect((await admin.get(`/customers?filter=name[eq]:${name}`)).body.data[0].tags).toEqual(["a", "b\\"]);
  });
});

describe("a body of no bytes is none, whatever its form:", () => {
  /** As Node's own client sends a request that ends without a word of its length. */
  const chunked = (method: string, path: string) =>
    new Promise<number>((resolve, reject) => {
      const sent = request(cell.url + path, { method, headers: { ...admin.headers(), "transfer-encoding": "chunked" } }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      sent.on("error", reject);
      sent.end();
    });

  test("of routes whose body is optional, and of those that take none", async () => {
    const payment = await made("/payments", { contractId, amount: 1, paidAt: "2026-01-01" });
    expect(await chunked("POST", `/payments/${payment.paymentId}/void`)).toBe(200);
    expect((await admin.get(`/payments/${payment.paymentId}`)).body).toMatchObject({ status: "void", voidReason: null });
    expect(await chunked("POST", `/customers/${customerId}/restore`)).toBe(200);
  });

  test("and is refused where there has to be one", async () => {
    expect(await chunked("PATCH", `/customers/${customerId}`)).toBe(415);
  });
});

describe("no empty page stands for a question that was not understood:", () => {
  test("the trail of a record by its id in capitals", async () => {
    const { body } = await admin.get(`/audit-logs?resourceId=${customerId.toUpperCase()}`);
    expect(body.total).toBe((await admin.get(`/audit-logs?resourceId=${customerId}`)).body.total);
    expect(body.total).toBeGreaterThan(0);
  });

  test("a window that ends before it begins, of the trail, its file, arrivals and replays", async () => {
    for (const [path, field] of [
      ["/audit-logs?from=2026-03-01&to=2026-01-01", "to"],
      ["/audit-logs?from=2026-03-01T00:00:00Z&to=2026-03-01T08:00:00%2B08:00&format=csv", "to"],
      ["/opportunities?enteredFrom=2026-03-01T00:00:00Z&enteredTo=2026-01-01T00:00:00Z", "enteredTo"],
      ["/opportunities/export?enteredFrom=2026-03-01T00:00:00Z&enteredTo=2026-01-01T00:00:00Z", "enteredTo"],
    ] as const) {
      const response = await admin.get(path);
      expect([response.status, paths(response)], path).toEqual([400, [field]]);
    }
    const { webhookId } = await made("/webhooks", { url: "https://hooks.example.com/", events: ["*"] });
    const replay = (body: object) => admin.post(`/webhooks/${webhookId}/replay`, { body });
    expect(paths(await replay({ from: "2026-03-01", to: "2026-01-01" }))).toEqual(["to"]);
    expect(paths(await replay({ from: "2999-01-01" }))).toEqual(["from"]);
    expect((await admin.get("/audit-logs?from=2026-03-01&to=2026-03-01")).status).toBe(200);
  });

  test("an owner that is no text", async () => {
    for (const path of ["/customers", "/opportunities", "/customers/export"])
      expect(paths(await admin.get(`${path}?ownerId=%E2%80%8B`)), path).toEqual(["ownerId"]);
  });
});

describe("what was answered can be sent back:", () => {
  test("times on the first and last days of the calendar, in timezones on both sides", async () => {
    for (const [timezone, day] of [
      ["Asia/Shanghai", "1900-01-01"],
      ["America/New_York", "9998-12-31"],
    ]) {
      await admin.patch("/settings", { body: { timezone } });
      const contract = await made("/contracts", { customerId, name: "x", amount: 1, signedAt: day });
      const same = await admin.patch(`/contracts/${contract.contractId}`, { body: { signedAt: contract.signedAt } });
      expect([same.status, same.body.version], same.text).toEqual([200, 1]);
    }
    await admin.patch("/settings", { body: { timezone: "Asia/Shanghai" } });
    const name = unique();
    await admin.post("/opportunities/import", { body: { items: [{ name, customerId, createdAt: "1900-01-01" }] } });
    const { data } = (await admin.get(`/opportunities?filter=name[eq]:${name}`)).body;
    const again = await admin.post("/opportunities/import", { body: { items: data, mode: "update" } });
    expect(again.body, again.text).toMatchObject({ skipped: 1, failed: 0 });
  });

  test("a timezone is known by one spelling", async () => {
    expect((await admin.patch("/settings", { body: { timezone: "asia/shanghai" } })).body.timezone).toBe("Asia/Shanghai");
    expect((await admin.patch("/settings", { body: { timezone: "utc" } })).body.timezone).toBe("UTC");
  });

  test("the URL of a webhook, which names a host of the Internet and holds no blanks", async () => {
    const { webhookId } = await made("/webhooks", { url: "https://hooks.example.com/", events: ["*"] });
    for (const url of ["https://hooks.example.com/a b", "https://hooks.example.com/\t\nx", "https://hooks.example.com/\u0085x"]) {
      expect(paths(await admin.patch(`/webhooks/${webhookId}`, { body: { url } })), url).toEqual(["url"]);
      expect(paths(await admin.post("/webhooks", { body: { url, events: ["*"] } })), url).toEqual(["url"]);
    }
  });
});

test("a record that a cache holds is not sent again, whatever a proxy made of its tag", async () => {
  const { customerId: id } = await made("/customers", { name: unique() });
  const statusWith = async (tag: string) => (await admin.get(`/customers/${id}`, { headers: { "if-none-match": tag } })).status;
  for (const tag of ['"1"', 'W/"1"', '"0", W/"1"', "*"]) expect(await statusWith(tag), tag).toBe(304);
  for (const tag of ['"2"', "1", '"11"', ""]) expect(await statusWith(tag), tag).toBe(200);
});

describe("a row of an import", () => {
  test("of opportunities may name no record by null, as one of customers", async () => {
    const name = unique();
    const items = [
      { opportunityId: null, customerId, customerName: null, name },
      { opportunityId: null, customerId: null, customerName: "Of unusual input", name },
    ];
    expect((await admin.post("/opportunities/import", { body: { items } })).body).toMatchObject({ created: 2, failed: 0 });
    const nobody = await admin.post("/opportunities/import", {
      body: { items: [{ customerId: null, name }, { opportunityId: null }], mode: "upsert" },
    });
    expect(nobody.body.errors.map(({ row, field, code }: Record<string, string>) => `${row} ${field} ${code}`)).toEqual([
      "1 customerId REQUIRED",
      "2 name REQUIRED",
      "2 customerId REQUIRED",
    ]);
    expect((await admin.post("/customers/import", { body: { items: [{ customerId: null, name }] } })).body.created).toBe(1);
  });

  test("weighs as much as it writes: long histories are put off, and carried out in parts", async () => {
    const stageHistory = Array.from(
      { length: 200 },
      (_, index) => `${index % 2 ? "qualification" : "prospecting"}@${new Date(Date.UTC(2025, 0, index + 1)).toISOString().slice(0, 10)}`,
    );
    const items = Array.from({ length: 110 }, (_, index) => ({ customerId, name: `H${index}`, stageHistory }));
    const response = await admin.post("/opportunities/import?dryRun=true", { body: { items } });
    expect(response.status, response.text).toBe(202);
    const sizes = await inspect<{ rows: number }>(
      tenantId,
      "select last_row - first_row + 1 as rows from $tenant.import_batches where import_id = $1",
      [response.body.importId],
    );
    expect(Math.max(...sizes.map(({ rows }) => rows))).toBeLessThan(10);
    expect((await admin.post("/opportunities/import?dryRun=true", { body: { items: items.slice(0, 90) } })).body).toMatchObject({
      created: 90,
    });
  });
});

test("custom fields weigh what PostgreSQL writes of them: a number of six characters may be three hundred", async () => {
  const a = (count: number) => ({ a: Array.from({ length: count }, () => 1e308) });
  for (const [path, body] of [
    ["/customers", { name: unique(), customFields: a(250) }],
    ["/customers", { name: unique(), customFields: { deep: [{ small: Array.from({ length: 250 }, () => 1e-300) }] } }],
  ] as const) {
    const refused = await admin.post(path, { body });
    expect([refused.status, paths(refused), refused.body.details.fields[0].code]).toEqual([400, ["customFields"], "TOO_LONG"]);
    const imported = await admin.post("/customers/import", { body: { items: [body] } });
    expect(imported.body).toMatchObject({ failed: 1, errors: [{ field: "customFields", code: "TOO_LONG" }] });
  }
  const created = await made("/customers", { name: unique(), customFields: { ...a(150), b: 123456789012345680000, c: -0.5 } });
  const { text } = await admin.get(`/customers?filter=customerId[eq]:${created.customerId}`);
  expect(text).toContain(JSON.stringify(created.customFields));
});

test("no cursor of the timeline is a fault of ours", async () => {
  for (const place of [
    ["0000-01-01T00:00:00Z", "x"],
    ["2026-01-01T00:00:00Z", "x\0"],
    ["2026-01-01T00:00:00Z", "\ud800"],
    ["2026-02-30T00:00:00Z", "x"],
    ["9".repeat(40), "x"],
  ]) {
    const cursor = Buffer.from(JSON.stringify([customerId, ...place])).toString("base64url");
    expect(paths(await admin.get(`/customers/${customerId}/360?include=timeline&timelineCursor=${cursor}`))).toEqual(["timelineCursor"]);
  }
});
