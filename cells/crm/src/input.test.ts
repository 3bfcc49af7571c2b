import { randomUUID } from "node:crypto";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test, vi } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect } from "./testing/test-crm.ts";

let tenantId: string;
let admin: TestClient;
let customerId: string;
let contractId: string;
let pipelineId: string;

tenantPerFile(async (given) => {
  ({ tenantId, admin } = given);
  customerId = (await made("/customers", { name: "Of inputs" })).customerId;
  contractId = (await made("/contracts", { customerId, name: "Contract", amount: "1000", status: "active" })).contractId;
  pipelineId = (await admin.get("/pipelines")).body.data[0].pipelineId;
});

const unique = () => randomUUID().slice(0, 8);

async function made(path: string, body: object) {
  const response = await admin.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

const detail = async (path: string) => (await admin.get(path)).body;

const csv = (path: string, raw: string) => admin.post(path, { raw, headers: { "content-type": "text/csv" } });

/** The problems of a refusal or of an import's report, as `field code`. */
function problems({ status, body }: TestResponse): string[] {
  if (status === 400) return body.details.fields.map(({ path, code }: { path: string; code: string }) => `${path} ${code}`);
  return (body.errors ?? []).map(({ field, code }: { field: string; code: string }) => `${field} ${code}`);
}

/** A body that creates one record for each path, with every text that it takes; `text` makes those. */
function bodies(text: (max: number) => string): Record<string, Record<string, unknown>> {
  return {
    "/customers": {
      name: text(255),
      contactName: text(255),
      contactPhone: text(40),
      contactEmail: text(254),
      industry: text(100),
      level: text(50),
      source: text(100),
      ownerId: text(128),
      address: text(500),
      tags: [text(64)],
      notes: text(10_000),
      customFields: { [text(64)]: "x" },
    },
    "/contacts": { customerId, name: text(255), title: text(100), phone: text(40), email: text(254), notes: text(10_000) },
    "/opportunities": { customerId, name: text(255), stage: text(64), ownerId: text(128), lostReason: text(1_000), amount: text(20) },
    "/contracts": { customerId, name: text(255), number: text(100), amount: text(20), currency: text(3), signedAt: text(20) },
    "/payments": { contractId, amount: "1", paidAt: text(20), method: text(100), reference: text(255), notes: text(10_000) },
    "/pipelines": { name: text(255), stages: [{ stage: text(64), name: text(100), type: text(4) }] },
    "/webhooks": { url: text(2_000), events: [text(20)], description: text(500) },
  };
}

describe("texts of any length and form cost what their length costs:", () => {
  /** What `String.prototype.normalize` was asked to do while something ran. */
  async function normalised(work: () => Promise<unknown>): Promise<string[]> {
    const seen: string[] = [];
    const original = String.prototype.normalize;
    const spy = vi.spyOn(String.prototype, "normalize").mockImplementation(function (this: string, form) {
      seen.push(String(this));
      return original.call(this, form);
    });
    try {
      await work();
    } finally {
      spy.mockRestore();
    }
    return seen;
  }
  const longestRun = (text: string) => Math.max(0, ...(text.match(/\p{M}+/gu) ?? []).map((run) => run.length));
  /** Ordering a run of marks is quadratic: a short text may hold one, a long one must not. */
  const isCheap = (text: string) => text.length <= 1_100 || (text.length <= 40_000 && longestRun(text) <= 30);
  const hostile = (length: number) => `a${"\u0301\u0327".repeat(length / 2)}`;

  test.each(["/customers", "/contacts", "/opportunities", "/contracts", "/payments", "/pipelines", "/webhooks"])(
    "in bodies of %s",
    async (path) => {
      const seen = await normalised(async () => {
        for (const length of [60, 20_000, 60_000]) {
          const body = bodies(() => hostile(length))[path];
          for (const [field, value] of Object.entries(body ?? {})) {
            const response = await admin.post(path, { body: { ...bodies((max) => "x".repeat(Math.min(max, 20)))[path], [field]: value } });
            expect([400, 404], `${field}: ${response.text}`).toContain(response.status);
          }
        }
        expect((await admin.post(path, { body: { name: hostile(400_000) } })).status).toBe(400);
      });
      expect(seen.filter((text) => !isCheap(text)).map((text) => text.length)).toEqual([]);
    },
  );

  test("in a PATCH, in settings, queries, CSV headings and cells, items and columns of JSON", async () => {
    const seen = await normalised(async () => {
      const refused: TestResponse[] = [];
      for (const length of [60, 20_000, 60_000]) {
        const text = hostile(length);
        refused.push(await admin.patch(`/customers/${customerId}`, { body: { notes: text } }));
        refused.push(await admin.patch("/settings", { body: { timezone: text, currency: text, rates: { [text]: "1" } } }));
        refused.push(await csv("/customers/import", `${text},客户\u0301${text}\na,b\n`));
        for (const response of refused.splice(0)) expect(response.status, response.text).toBe(400);
        for (const path of ["/customers/import", "/opportunities/import"]) {
          for (const response of [
            await csv(path, `name,${text}\n${text},x\n`),
            await csv(path, `name,ownerId\n${text},${text}\n`),
            await admin.post(path, { body: { items: [{ name: text, customerName: text, [text]: text, ownerId: text }] } }),
          ])
            expect(response.status === 400 || response.body.failed === 1, response.text).toBe(true);
        }
      }
      for (const length of [60, 1_000]) {
        const text = encodeURIComponent(hostile(length));
        for (const query of [`keyword=${text}`, `filter=name[eq]:${text}`, `filter=name[in]:${text},b`, `ownerId=${text}`, `sort=${text}`])
          expect((await admin.get(`/customers?${query}`)).status).toBe(400);
      }
    });
    expect(seen.filter((text) => !isCheap(text)).map((text) => text.length)).toEqual([]);
  });

  test("in what is longer than its field: it is refused as too long, not as malformed", async () => {
    const response = await admin.post("/customers", { body: { name: hostile(60_000), notes: "e\u0301".repeat(50_000) } });
    expect(problems(response)).toEqual(["name TOO_LONG", "notes TOO_LONG"]);
    expect(problems(await admin.post("/customers", { body: { name: hostile(40) } }))).toEqual(["name INVALID_FORMAT"]);
    // Characters outside the basic plane count once, though each is two units long.
    const emoji = "👩‍👩‍👧‍👦".repeat(400);
    expect(problems(await admin.post("/customers", { body: { name: emoji, tags: [emoji] } }))).toEqual([
      "name TOO_LONG",
      "tags.0 TOO_LONG",
    ]);
    // What NFC makes short enough is taken, blanks around it aside.
    const name = "e\u0301".repeat(255);
    expect((await made("/customers", { name: `${" ".repeat(5_000)}${name}` })).name).toBe(name.normalize("NFC"));
  });
});

/** Blanks of all kinds: no value depends on those around it. */
const blank = " \t\u00a0\u3000\u2028\u0085\ufeff";
const padded = (value: string) => `${blank}${value}${blank}`;

describe("blanks around a value are not part of it:", () => {
  test("amounts, currencies, enums, dates, ids, phones, texts and slugs, in JSON", async () => {
    const id = unique();
    const contact = await made("/contacts", { customerId: padded(customerId), name: padded(id), phone: padded("13800138000") });
    expect(await detail(`/contacts/${contact.contactId}`)).toMatchObject({ customerId, name: id, phone: "13800138000" });
    const contract = await made("/contracts", {
      customerId: padded(customerId.toUpperCase()),
      number: padded(`N ${id}`),
      name: padded("x"),
      amount: padded("100"),
      currency: padded("USD"),
      status: padded("active"),
      signedAt: padded("2026-01-31"),
      startDate: padded("2026-01-31"),
      endDate: padded("2026-12-31"),
    });
    expect(await detail(`/contracts/${contract.contractId}`)).toMatchObject({
      customerId,
      number: `N ${id}`,
      amount: "100.00",
      currency: "USD",
      status: "active",
      signedAt: "2026-01-31T00:00:00.000Z",
      startDate: "2026-01-31",
      endDate: "2026-12-31",
    });
    const payment = await made("/payments", {
      contractId: padded(contract.contractId.toUpperCase()),
      amount: padded("1.50"),
      paidAt: padded("2026-01-31T08:00:00+08:00"),
      kind: padded("payment"),
      currency: padded("USD"),
    });
    expect(await detail(`/payments/${payment.paymentId}`)).toMatchObject({ contractId: contract.contractId, amount: "1.50" });
    const opportunity = await made("/opportunities", {
      customerId: padded(customerId),
      pipelineId: padded(pipelineId.toUpperCase()),
      name: "x",
      amount: padded("7"),
      stage: padded("lost"),
      lostReason: padded("price"),
      expectedCloseDate: padded("2026-03-31"),
      ownerId: padded("user-002"),
    });
    expect(await detail(`/opportunities/${opportunity.opportunityId}`)).toMatchObject({
      pipelineId,
      amount: "7.00",
      stage: "lost",
      lostReason: "price",
      expectedCloseDate: "2026-03-31",
      ownerId: "user-002",
    });
    const patched = await admin.patch(`/contracts/${contract.contractId}`, {
      body: { amount: padded("200"), status: padded("completed") },
    });
    expect([patched.status, (await detail(`/contracts/${contract.contractId}`)).amount]).toEqual([200, "200.00"]);
    const settings = await admin.patch("/settings", {
      body: { timezone: padded("UTC"), currency: padded("CNY"), rates: { USD: padded("7.1") }, idempotencyMode: padded("replay") },
    });
    expect([settings.status, settings.body.rates]).toEqual([200, { USD: "7.1" }]);
    const webhook = await made("/webhooks", { url: padded("https://hooks.example.com/"), events: [padded("customer.created")] });
    expect(webhook).toMatchObject({ url: "https://hooks.example.com/", events: ["customer.created"] });
  });

  test("in queries", async () => {
    const ask = (path: string, query: Record<string, string>) => admin.get(`${path}?${new URLSearchParams(query)}`);
    const responses = [
      await ask("/contracts", { customerId: padded(customerId.toUpperCase()), status: padded("active"), pageSize: " 5 " }),
      await ask("/opportunities", { pipelineId: padded(pipelineId), sort: padded("-createdAt"), total: " exact " }),
      await ask("/pipeline/summary", { pipelineId: padded(pipelineId.toUpperCase()), currency: " CNY " }),
    ];
    for (const response of responses) expect(response.status, response.text).toBe(200);
    expect(responses[0]?.body.data.map((row: { customerId: string }) => row.customerId)).toContain(customerId);
  });

  test("in the cells of a file and the items of an import: none of them is an error, nor loses the others", async () => {
    const id = unique();
    const cells = [`P ${id}`, customerId.toUpperCase(), pipelineId, "100", "USD", "proposal", "2026-03-31", "user-002"].map(padded);
    const header = "name,customerId,pipelineId,amount,currency,stage,expectedCloseDate,ownerId";
    const file = await csv("/opportunities/import", `${header}\n${cells.join(",")}\nQ ${id},${customerId},,100,,,,\n`);
    expect([file.status, file.body.created, file.body.errors]).toEqual([200, 2, []]);
    const item = Object.fromEntries(header.split(",").map((field, index) => [field, cells[index]]));
    const items = await admin.post("/opportunities/import", { body: { items: [item, { ...item, amount: "1e3" }] } });
    expect([items.status, items.body.created, problems(items)]).toEqual([200, 1, ["amount INVALID_FORMAT"]]);
    const { data } = (await admin.get(`/opportunities?filter=name[eq]:P ${id}&sort=createdAt`)).body;
    expect(data).toHaveLength(2);
    for (const { opportunityId } of data)
      expect(await detail(`/opportunities/${opportunityId}`)).toMatchObject({ customerId, amount: "100.00", currency: "USD" });
    const customers = await csv(
      "/customers/import",
      `name,status,level,tags\n${padded(id)},${padded("active")},${padded("A")},${padded("x; y ")}\n`,
    );
    expect(customers.body).toMatchObject({ created: 1 });
    const again = await admin.post("/customers/import", {
      body: { items: [{ name: id, status: padded("active"), level: padded("A"), tags: ["x", padded("y")] }], mode: padded("upsert") },
    });
    expect(again.body).toMatchObject({ skipped: 1, failed: 0 });
  });
});

describe("a value that is none is refused where it stands, and none that is taken fails later:", () => {
  const amounts = ["1e3", "1e-7", "+1", "Infinity", "+infinity", "NaN", "0x10", "1,5", "１", "--1", "1.23456", "1234567890123456", "**"];
  const days = ["0000-01-01", "0026-03-31", "1899-12-31", "10000-01-01", "+010000-01-01", "2026-02-30", "infinity", "now", "2026-1-1"];
  const ids = ["x", "0", "00000000", `{${randomUUID()}}`, randomUUID().replaceAll("-", "")];
  const cases: [string, string, readonly unknown[]][] = [
    ["/opportunities", "amount", [...amounts, 1e-7, 1e300, 12345678901.12345]],
    ["/opportunities", "probability", [-1, 100.001, 1e-7, 1e300, "50"]],
    ["/opportunities", "expectedCloseDate", days],
    ["/opportunities", "customerId", ids],
    ["/opportunities", "pipelineId", ids],
    ["/contracts", "amount", [...amounts, "0", "-1", 0]],
    ["/contracts", "signedAt", [...days, "9999-12-31", "2026-01-01T00:00:00", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00+19:00"]],
    ["/contracts", "startDate", days],
    ["/contracts", "endDate", days],
    ["/contracts", "currency", ["cny", "XXXX", "ZZZ", "ＣＮＹ"]],
    ["/contracts", "status", ["Active", "activе", "none"]],
    ["/contracts", "number", ["ﷺ".repeat(100)]],
    ["/payments", "amount", amounts],
    ["/payments", "paidAt", days],
    ["/payments", "reference", ["ﷺ".repeat(255)]],
    ["/payments", "contractId", ids],
    ["/customers", "name", ["ﷺ".repeat(255)]],
  ];

  test.each(cases)("%s %s", async (path, field, values) => {
    const valid: Record<string, object> = {
      "/opportunities": { customerId, name: "x" },
      "/contracts": { customerId, name: "x", amount: "1" },
      "/payments": { contractId, amount: "1", paidAt: "2026-01-31" },
      "/customers": { name: "x" },
    };
    for (const value of values) {
      const response = await admin.post(path, { body: { ...valid[path], [field]: value } });
      expect([response.status, response.body.details?.fields?.[0]?.path], `${value}: ${response.text}`).toEqual([400, field]);
    }
    if (path !== "/opportunities" || field === "probability") return;
    const rows = values.map((value) => `x,${customerId},"${value}"`);
    const file = await csv(
      "/opportunities/import",
      `name,${field === "customerId" ? "客户名称" : "customerId"},${field}\n${rows.join("\n")}\n`,
    );
    if (file.status === 200) expect([file.body.created, file.body.failed], file.text).toEqual([0, values.length]);
  });

  test("times in queries", async () => {
    const times = [
      "0000-01-01T00:00:00Z",
      "10000-01-01T00:00:00Z",
      "2026-01-01T00:00:00+23:00",
      "2026-02-30T00:00:00Z",
      "infinity",
      "-infinity",
    ];
    for (const time of times.map(encodeURIComponent)) {
      for (const query of [`asOf=${time}`, `enteredFrom=${time}`, `enteredTo=${time}&enteredStage=won`, `filter=createdAt[gt]:${time}`])
        expect((await admin.get(`/opportunities?${query}`)).status, query).toBe(400);
      for (const path of ["/pipeline/summary", "/pipeline/funnel", "/reports/funnel", "/opportunities/forecast", "/metrics"])
        for (const name of path === "/metrics" ? ["asOf"] : ["asOf", "from", "to"])
          expect((await admin.get(`${path}?${name}=${time}`)).status, `${path} ${name} ${time}`).toBe(400);
      expect((await admin.get(`/audit-logs?from=${time}`)).status).toBe(400);
    }
  });

  test("a date is one type: what a contract takes, an opportunity takes, by body and by file", async () => {
    for (const day of ["1900-01-01", "2028-02-29", "9999-12-31"]) {
      const contract = await made("/contracts", { customerId, name: "x", amount: "1", startDate: day, endDate: day });
      expect(contract).toMatchObject({ startDate: day, endDate: day });
      expect(await made("/opportunities", { customerId, name: "x", expectedCloseDate: day })).toMatchObject({ expectedCloseDate: day });
      expect((await csv("/opportunities/import", `name,customerId,expectedCloseDate\nx,${customerId},${day}\n`)).body.created).toBe(1);
    }
    const history = await admin.post("/opportunities/import", {
      body: {
        items: [
          { name: "x", customerId, stageHistory: ["prospecting@0026-01-05"] },
          { name: "x", customerId, createdAt: "0026-01-05" },
        ],
      },
    });
    expect(problems(history)).toEqual(["stageHistory INVALID_FORMAT", "createdAt INVALID_FORMAT"]);
  });

  test("an id in capitals is the same record's, in bodies and paths", async () => {
    const capitals = customerId.toUpperCase();
    expect((await admin.post(`/customers/${customerId}/merge`, { body: { sourceIds: [capitals] } })).status).toBe(400);
    expect((await admin.post(`/customers/${capitals}/merge`, { body: { sourceIds: [customerId] } })).status).toBe(400);
    const opportunity = await made("/opportunities", { customerId: capitals, name: "x" });
    expect(opportunity.customerId).toBe(customerId);
    const contract = { customerId: capitals, opportunityId: opportunity.opportunityId.toUpperCase(), name: "x", amount: "1" };
    expect(await made("/contracts", contract)).toMatchObject({ customerId, opportunityId: opportunity.opportunityId });
    expect((await admin.get(`/customers/${capitals}/360?include=contracts`)).body.contracts.href).toContain(customerId);
  });
});

describe("there is one kind of empty:", () => {
  const empties = ["", "  ", "\u3000\u0085", "\u200b", "\u00ad\u2060"];
  const fields: Record<string, readonly string[]> = {
    "/customers": ["contactName", "contactPhone", "contactEmail", "industry", "level", "source", "address", "notes"],
    "/contacts": ["title", "phone", "email", "notes"],
    "/payments": ["method", "reference", "notes"],
    "/webhooks": ["description"],
    "/opportunities": ["lostReason"],
  };
  const bodyOf: Record<string, () => object> = {
    "/customers": () => ({ name: unique() }),
    "/contacts": () => ({ customerId, name: "x" }),
    "/payments": () => ({ contractId, amount: "1", paidAt: "2026-01-31" }),
    "/webhooks": () => ({ url: "https://hooks.example.com/", events: ["*"] }),
    "/opportunities": () => ({ customerId, name: "x" }),
  };
  const idOf: Record<string, string> = {
    "/customers": "customerId",
    "/contacts": "contactId",
    "/payments": "paymentId",
    "/webhooks": "webhookId",
    "/opportunities": "opportunityId",
  };

  test.each(Object.entries(fields))("an optional text of %s that shows nothing is null, given or changed", async (path, names) => {
    for (const empty of empties) {
      const body = { ...bodyOf[path]?.(), ...Object.fromEntries(names.map((name) => [name, empty])) };
      const nulls = Object.fromEntries(names.map((name) => [name, null]));
      const created = await made(path, body);
      const record = `${path}/${created[idOf[path] ?? ""]}`;
      expect([created, await detail(record)]).toMatchObject([nulls, nulls]);
      if (path === "/payments") continue;
      const { version } = created;
      const same = await admin.patch(record, { body: Object.fromEntries(names.map((name) => [name, empty])) });
      expect([same.status, same.body.version]).toEqual([200, version]);
    }
    for (const name of names.filter((field) => ["/customers", "/contacts"].includes(path) && field !== "notes" && field !== "address")) {
      const { total } = (await admin.get(`${path}?filter=${name}[isNull]:true&total=exact`)).body;
      const all = (await admin.get(`${path}?total=exact`)).body.total;
      const filled = (await admin.get(`${path}?filter=${name}[isNull]:false&total=exact`)).body.total;
      expect([name, total + filled, total >= empties.length]).toEqual([name, all, true]);
    }
  });

  test("a text that is emptied becomes null, and the trail says so", async () => {
    const created = await made("/customers", { name: unique(), level: "A", notes: "n" });
    await admin.patch(`/customers/${created.customerId}`, { body: { level: " ", notes: "\u200b" } });
    expect(await detail(`/customers/${created.customerId}`)).toMatchObject({ level: null, notes: null });
    const { data } = (await admin.get(`/audit-logs?resourceId=${created.customerId}`)).body;
    expect(data[0].changes).toEqual([
      { field: "level", before: "A", after: null },
      { field: "notes", before: "n", after: null },
    ]);
  });

  test("a required text that shows nothing is refused", async () => {
    for (const empty of empties) {
      const stages = [{ stage: "a", name: empty, type: "open", probability: 1 }];
      const responses = [
        await admin.post("/customers", { body: { name: empty, ownerId: empty, tags: [empty] } }),
        await admin.post("/contacts", { body: { customerId, name: empty } }),
        await admin.post("/opportunities", { body: { customerId, name: empty, ownerId: empty } }),
        await admin.post("/contracts", { body: { customerId, name: empty, number: empty, amount: "1" } }),
        await admin.post("/pipelines", { body: { name: empty, stages } }),
        await admin.post("/customers/import", { body: { items: [{ name: empty }] } }),
      ];
      expect(responses.map((response) => problems(response).join())).toEqual([
        "name REQUIRED,ownerId REQUIRED,tags.0 REQUIRED",
        "name REQUIRED",
        "name REQUIRED,ownerId REQUIRED",
        "number REQUIRED,name REQUIRED",
        expect.stringContaining("name REQUIRED"),
        "name REQUIRED",
      ]);
    }
  });

  test("an opportunity that is lost needs a reason that shows something", async () => {
    const { opportunityId } = await made("/opportunities", { customerId, name: "x" });
    for (const lostReason of empties) {
      const response = await admin.patch(`/opportunities/${opportunityId}`, { body: { stage: "lost", lostReason } });
      expect(problems(response)).toEqual(["lostReason REQUIRED"]);
    }
  });
});

describe("names that look the same are the same:", () => {
  const spellings = (name: string) => [
    name.toUpperCase(),
    ` ${name.replace(" ", "  ")}\u3000`,
    name.replace(" ", "\u200b \u2060"),
    `${name}\ufe0f`,
    `\u00ad${name}`,
    name.replace(" ", "\u0085"),
    name.replace(/[a-z0-9]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) + 0xfee0)),
  ];

  test("customers, on creation, change, restore and import", async () => {
    const name = `acme ${unique()}`;
    const first = await made("/customers", { name });
    for (const spelling of spellings(name)) {
      const refused = await admin.post("/customers", { body: { name: spelling } });
      expect([refused.status, refused.body.details], spelling).toEqual([409, { existingId: first.customerId }]);
      const other = await made("/customers", { name: unique() });
      const patched = await admin.patch(`/customers/${other.customerId}`, { body: { name: spelling } });
      expect(patched.body.details, spelling).toEqual({ existingId: first.customerId });
      const imported = await admin.post("/customers/import", { body: { items: [{ name: spelling }, { name: `${spelling}\u200c` }] } });
      expect(problems(imported), spelling).toEqual(["name DUPLICATE_NAME", "name DUPLICATE_IN_FILE"]);
      const found = await admin.post("/opportunities/import", { body: { items: [{ name: "x", customerName: spelling }] } });
      expect(found.body.created, spelling).toBe(1);
    }
    await admin.delete(`/customers/${first.customerId}`);
    await made("/customers", { name: `${name}\u200b` });
    expect((await admin.post(`/customers/${first.customerId}/restore`)).status).toBe(409);
  });

  test("numbers of contracts", async () => {
    const number = `no ${unique()}`;
    const first = await made("/contracts", { customerId, name: "x", amount: "1", number });
    const other = await made("/contracts", { customerId, name: "x", amount: "1" });
    for (const spelling of spellings(number)) {
      const body = { customerId, name: "x", amount: "1", number: spelling };
      for (const refused of [
        await admin.post("/contracts", { body }),
        await admin.patch(`/contracts/${other.contractId}`, { body: { number: spelling } }),
      ])
        expect([refused.status, refused.body.details], spelling).toEqual([409, { field: "number", existingId: first.contractId }]);
    }
  });

  test("references of payments on one contract; on another, and once void, they are free", async () => {
    const reference = `tx ${unique()}`;
    const body = { contractId, amount: "1", paidAt: "2026-01-31" };
    const first = await made("/payments", { ...body, reference });
    for (const spelling of spellings(reference)) {
      const refused = await admin.post("/payments", { body: { ...body, reference: spelling } });
      expect([refused.status, refused.body.details], spelling).toEqual([409, { field: "reference", existingId: first.paymentId }]);
    }
    const other = await made("/contracts", { customerId, name: "x", amount: "1", status: "active" });
    await made("/payments", { ...body, contractId: other.contractId, reference: reference.toUpperCase() });
    await admin.post(`/payments/${first.paymentId}/void`);
    expect(await made("/payments", { ...body, reference: "TX 1" })).toMatchObject({ reference: "TX 1" });
    await made("/payments", { ...body, reference: reference.toUpperCase() });
  });

  test("what is stored stays as it was written", async () => {
    const name = `می\u200cخواهم 👩\u200d💻 ${unique()}`;
    expect(await made("/customers", { name })).toMatchObject({ name });
  });
});

test("an import that is taken back does not bring an empty text back", async () => {
  const created = await made("/customers", { name: unique(), level: "A" });
  const imported = await admin.post("/customers/import", { body: { items: [{ ...created, level: "B" }], mode: "update" } });
  expect(imported.body.updated).toBe(1);
  // As entries of earlier times may have it.
  await inspect(
    tenantId,
    `update $tenant.audit_logs set changes = '[{"field":"level","before":"","after":"B"}]' where import_id = '${imported.body.importId}' and action = 'update'`,
  );
  expect((await admin.post(`/imports/${imported.body.importId}/revert`)).body.reverted).toBe(1);
  expect(await detail(`/customers/${created.customerId}`)).toMatchObject({ level: null });
});
