import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { created, query } from "./testing/requests.ts";
import { tenantsOnDemand } from "./testing/tenants.ts";
import { inspect } from "./testing/test-crm.ts";

const newTenant = tenantsOnDemand();

async function names(client: TestClient, path: string, parameters: Record<string, string>): Promise<string[]> {
  const response = await client.get(`${path}?${query({ pageSize: "200", ...parameters })}`);
  expect(response.status, response.text).toBe(200);
  expect(response.body.total).toBe(response.body.data.length);
  return response.body.data.map((row: Record<string, string>) => row.name ?? row.reference);
}

describe("texts are searched whatever their case and width", () => {
  let admin: TestClient;
  const stored = [
    "İstanbul Tekstil",
    "ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ",
    "Ｆｕｌｌｗｉｄｔｈ　株式会社",
    "Straße & Söhne",
    "Işık Ltd",
    "ООО Ромашка",
    "ﬁnance ＡＣＭＥ",
    "ქართული ბანკი",
    "上海华兴",
    "ｶﾌﾞｼｷ 会社",
    "Two  blanks",
    "100％ sure",
    "Ⅷ Corp",
  ];

  beforeAll(async () => {
    admin = await newTenant();
    for (const name of stored) {
      const { customerId = "" } = await created(admin, "/customers", { name, industry: name });
      await created(admin, "/contacts", { customerId, name, title: name });
      await created(admin, "/opportunities", { customerId, name });
      const { contractId } = await created(admin, "/contracts", { customerId, name, amount: "1", status: "active" });
      await created(admin, "/payments", { contractId, amount: "1", paidAt: "2026-01-01", reference: name });
    }
  });

  const lists = ["/customers", "/contacts", "/opportunities", "/contracts", "/payments", "/customers/export", "/opportunities/export"];

  test.each(lists)("%s finds each record by its own text, in capitals and in small letters", async (path) => {
    const field = path === "/payments" ? "reference" : "name";
    for (const name of stored) {
      for (const term of [name, name.toUpperCase(), name.toLowerCase()]) {
        expect(await names(admin, path, { keyword: term }), `keyword ${term}`).toContain(name);
        expect(await names(admin, path, { filter: `${field}[contains]:"${term}"` }), `contains ${term}`).toContain(name);
      }
    }
  });

  test.each([
    ["istanbul", "İstanbul Tekstil"],
    ["ISTANBUL", "İstanbul Tekstil"],
    ["παπαδοπουλος", "ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ"],
    ["Παπαδοπουλοσ", "ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ"],
    ["αφοι παπ", "ΑΦΟΙ ΠΑΠΑΔΟΠΟΥΛΟΣ"],
    ["fullwidth 株", "Ｆｕｌｌｗｉｄｔｈ　株式会社"],
    ["STRASSE", "Straße & Söhne"],
    ["IŞIK", "Işık Ltd"],
    ["ромашка", "ООО Ромашка"],
    ["FINANCE acme", "ﬁnance ＡＣＭＥ"],
    ["カブシキ", "ｶﾌﾞｼｷ 会社"],
    ["two blanks", "Two  blanks"],
    ["two   blanks", "Two  blanks"],
    ["0%", "100％ sure"],
    ["％", "100％ sure"],
    ["viii", "Ⅷ Corp"],
    ["华兴", "上海华兴"],
  ])("%s finds %s alone, by keyword and by contains", async (term, name) => {
    expect(await names(admin, "/customers", { keyword: term })).toEqual([name]);
    expect(await names(admin, "/contacts", { keyword: term })).toEqual([name]);
    expect(await names(admin, "/customers", { filter: `name[contains]:"${term}"` })).toEqual([name]);
    expect(await names(admin, "/contacts", { filter: `title[contains]:"${term}"` })).toEqual([name]);
  });

  test("what stands for any text in a pattern is a sign like others", async () => {
    expect(await names(admin, "/customers", { keyword: "%%%" })).toEqual([]);
    expect(await names(admin, "/customers", { keyword: "_stanbul" })).toEqual([]);
    expect(await names(admin, "/customers", { filter: "name[contains]:＿＿" })).toEqual([]);
    expect(await names(admin, "/customers", { filter: "name[contains]:\\" })).toEqual([]);
  });

  test("a text of any script is found by itself and by each of its words", async () => {
    const ranges = [
      [0x20, 0x7e],
      [0xc0, 0x24f],
      [0x370, 0x3ff],
      [0x400, 0x52f],
      [0x531, 0x587],
      [0x5d0, 0x5ea],
      [0x620, 0x64a],
      [0x900, 0x97f],
      [0xe01, 0xe4e],
      [0x10a0, 0x10ff],
      [0x13a0, 0x13ff],
      [0x1e00, 0x1fff],
      [0x2100, 0x218f],
      [0x2c00, 0x2dff],
      [0x3041, 0x30ff],
      [0x4e00, 0x4eff],
      [0xa640, 0xa7ff],
      [0xac00, 0xacff],
      [0xfb00, 0xfb4f],
      [0xff00, 0xffef],
      [0x10400, 0x1044f],
      [0x1f600, 0x1f64f],
    ] as const;
    const character = fc
      .constantFrom(...ranges)
      .chain(([from, to]) => fc.integer({ min: from, max: to }))
      .map((code) => String.fromCodePoint(code));
    const words = fc.array(
      fc.string({ unit: character, minLength: 1, maxLength: 8 }).map((word) => word.replace(/[\s"\\]/g, "")),
      { minLength: 1, maxLength: 3 },
    );
    const client = await newTenant();
    let made = 0;
    const check = async (given: string[]) => {
      const response = await client.post("/customers", { body: { name: `${given.join(" ")} ${made++}` } });
      // What is no name, such as one of marks without letters, is refused and need not be found.
      if (response.status !== 201) return;
      const { name } = response.body;
      for (const term of [name, ...name.split(" ")]) {
        const found = (await client.get(`/customers?${query({ keyword: term, pageSize: "200" })}`)).body.data;
        expect(
          found.map((row: { name: string }) => row.name),
          `${JSON.stringify(term)} of ${JSON.stringify(name)}`,
        ).toContain(name);
        const filtered = (await client.get(`/customers?${query({ filter: `name[contains]:"${term}"`, pageSize: "200" })}`)).body.data;
        expect(
          filtered.map((row: { name: string }) => row.name),
          `${JSON.stringify(term)} of ${JSON.stringify(name)}`,
        ).toContain(name);
      }
    };
    await fc.assert(fc.asyncProperty(words, check), { numRuns: 60, interruptAfterTimeLimit: 60_000 });
  }, 120_000);
});

describe("texts are sorted as a dictionary sorts them", () => {
  const sorted = ["10 Downing", "安徽", "北京", "上海", "张伟", "apple", "Ärzte", "Bach", "bach 2", "Émile", "Sa", "SZ", "Zebra"];

  test("by pinyin and whatever their case, in pages, by cursor and in files, upwards and downwards", async () => {
    const admin = await newTenant();
    for (const name of [...sorted].reverse()) {
      const { customerId = "" } = await created(admin, "/customers", { name, industry: name.length > 4 ? null : name });
      await created(admin, "/contacts", { customerId, name });
      await created(admin, "/opportunities", { customerId, name });
    }
    for (const path of ["/customers", "/contacts", "/opportunities", "/customers/export"]) {
      expect(await names(admin, path, { sort: "name" }), path).toEqual(sorted);
      expect(await names(admin, path, { sort: "-name" }), path).toEqual([...sorted].reverse());
      const read: string[] = [];
      for (let cursor: string | null = ""; cursor !== null; ) {
        const { body }: TestResponse = await admin.get(`${path}?${query({ sort: "name", pageSize: "3", cursor })}`);
        read.push(...body.data.map(({ name }: { name: string }) => name));
        cursor = body.nextCursor;
      }
      expect(read, path).toEqual(sorted);
    }
    const file = await admin.get("/customers/export?format=csv&sort=name");
    expect(
      file.text
        .split("\r\n")
        .slice(1, -1)
        .map((line) => line.split(",")[2]),
    ).toEqual(sorted);
    expect(await names(admin, "/customers", { sort: "name", filter: "name[gte]:Ä and name[lt]:sb" })).toEqual([
      "apple",
      "Ärzte",
      "Bach",
      "bach 2",
      "Émile",
      "Sa",
    ]);
    const nullable = await names(admin, "/customers", { sort: "industry,-name" });
    expect(nullable.slice(0, 5)).toEqual(["安徽", "北京", "上海", "张伟", "Bach"]);
  });

  test("numbers are sorted by their value", async () => {
    const admin = await newTenant();
    const { customerId = "" } = await created(admin, "/customers", { name: "Acme" });
    for (const amount of ["9", "100", "20.5", "1000"]) await created(admin, "/opportunities", { customerId, name: amount, amount });
    expect(await names(admin, "/opportunities", { sort: "amount" })).toEqual(["9", "20.5", "100", "1000"]);
  });
});

describe("phone numbers and e-mail addresses are compared, not how they are written", () => {
  let admin: TestClient;
  const phones = {
    a: "+86 138-0013-8001",
    b: "13800138002",
    c: "0086 138 0013 8003",
    d: "010-8888 6666",
    e: "+1 (415) 555-2671",
    f: "95588",
  };

  beforeAll(async () => {
    admin = await newTenant();
    for (const [name, phone] of Object.entries(phones)) {
      const email = `${name.toUpperCase()}.Person@Example.COM`;
      const { customerId = "" } = await created(admin, "/customers", { name, contactPhone: phone, contactEmail: email });
      await created(admin, "/contacts", { customerId, name, phone, email });
    }
  });

  const found = async (filter: string) => {
    const customers = await names(admin, "/customers", { filter, sort: "name" });
    const inContacts = filter.replaceAll("contactPhone", "phone").replaceAll("contactEmail", "email");
    expect(await names(admin, "/contacts", { filter: inContacts, sort: "name" })).toEqual(customers);
    expect(await names(admin, "/customers/export", { filter, sort: "name" })).toEqual(customers);
    return customers.join("");
  };

  test.each([
    ["contactPhone[eq]:+8613800138001", "a"],
    ["contactPhone[eq]:13800138001", "a"],
    ["contactPhone[eq]:86 138 0013 8001", "a"],
    ['contactPhone[eq]:"(0086) 138.0013.8001"', "a"],
    ["contactPhone[eq]:013800138001", "a"],
    ["contactPhone[eq]:+86 138 0013 8002", "b"],
    ["contactPhone[eq]:13800138003", "c"],
    ["contactPhone[eq]:+861088886666", "d"],
    ["contactPhone[eq]:01088886666", "d"],
    ["contactPhone[eq]:0014155552671", "e"],
    ["contactPhone[eq]:4155552671", ""],
    ["contactPhone[eq]:95588", "f"],
    ["contactPhone[in]:13800138001, +8613800138002,4155552671", "ab"],
    ["contactPhone[ne]:13800138001", "bcdef"],
    ["contactPhone[contains]:1380013", "abc"],
    ["contactPhone[contains]:8888-66", "d"],
    ["contactEmail[eq]:a.person@example.com", "a"],
    ["contactEmail[in]:B.PERSON@EXAMPLE.COM,c.person@example.com", "bc"],
    ["contactEmail[ne]:a.person@example.com", "bcdef"],
    ["contactEmail[contains]:@EXAMPLE", "abcdef"],
  ])("%s finds %s", async (filter, expected) => {
    expect(await found(filter)).toBe(expected);
  });

  test.each(["contactPhone[eq]:138****8001", "contactPhone[eq]:nobody", "contactPhone[contains]:x"])(
    "%s is a BAD_REQUEST",
    async (filter) => {
      expect((await admin.get(`/customers?${query({ filter })}`)).status).toBe(400);
    },
  );

  test("the region decides where a number without a country code belongs, from its change on", async () => {
    await admin.patch("/settings", { body: { region: "US" } });
    expect(await found("contactPhone[eq]:4155552671")).toBe("e");
    expect(await found("contactPhone[eq]:(415) 555-2671".replace(/\((\d+)\)/, "$1"))).toBe("e");
    expect(await found("contactPhone[eq]:13800138001")).toBe("");
    expect(await found("contactPhone[eq]:+8613800138001")).toBe("a");
    await admin.patch("/settings", { body: { region: null } });
    expect(await found("contactPhone[eq]:13800138001")).toBe("a");
    expect((await admin.get("/settings")).body.region).toBe("CN");
    for (const region of ["XX", "cn", "CHN", ""]) expect((await admin.patch("/settings", { body: { region } })).status, region).toBe(400);
  });

  test("both are found by an index, whatever a list filters besides", async () => {
    const { tenantId } = admin.principal;
    await inspect(
      tenantId,
      `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, custom_fields, contact_phone, contact_email, created_at, updated_at, version)
       select gen_random_uuid(), 'n' || n, 'n' || n, 'lead', 'user-001', '{}', '{}', '139' || n, n || '@example.com', date_trunc('milliseconds', now()), now(), 1
       from generate_series(1, 20000) n`,
    );
    await inspect(tenantId, "analyze $tenant.customers");
    for (const condition of [
      "public.cell_phone(contact_phone) = any(array['1395', '+861395'])",
      "public.cell_fold(contact_email) = any(array['5@example.com'])",
    ]) {
      const plan = await inspect<Record<string, string>>(
        tenantId,
        `explain select * from $tenant.customers where deleted_at is null and ${condition}`,
      );
      expect(JSON.stringify(plan)).toMatch(/customers_(phone|email)/);
    }
  });
});
