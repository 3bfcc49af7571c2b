import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { importCounts, newCustomer } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect } from "../testing/test-crm.ts";

let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerTest(async (given) => {
  ({ tenantId, admin } = given);
  customerId = await newCustomer(admin, "Buyer");
});

const csv = (path: string, raw: string | Uint8Array, type = "text/csv"): Promise<TestResponse> =>
  admin.post(path, { raw, headers: { "content-type": type } });
const form = (path: string, raw: string): Promise<TestResponse> =>
  csv(
    path,
    `--b\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: text/csv\r\n\r\n${raw}\r\n--b--\r\n`,
    "multipart/form-data; boundary=b",
  );
const problems = ({ body }: TestResponse) =>
  body.errors.map((error: { field: string; code: string; message: string }) => [error.field, error.code, error.message]);
const opportunities = (): Promise<Record<string, unknown>[]> =>
  inspect(tenantId, "select * from $tenant.opportunities where deleted_at is null order by name");

const blanks = ["", " ", "\t ", "\u3000", "\u00A0", "\u200B", "'\t"];

describe("a cell of blanks is an empty cell", () => {
  const customer = {
    name: "Full",
    contactName: "张伟",
    contactPhone: "13800138000",
    contactEmail: "contact@example.com",
    industry: "manufacturing",
    level: "A",
    source: "website",
    status: "active",
    ownerId: "user-007",
    address: "Shenzhen",
    tags: ["vip"],
    notes: "old",
    customFields: { region: "east" },
  };
  const { name: _name, ...clearable } = customer;

  test.each([
    ["by itself", csv],
    ["in a form", form],
  ] as const)("that leaves each column of a customer as it is, in a file %s", async (_how, send) => {
    const created = (await admin.post("/customers", { body: customer })).body;
    const columns = Object.keys(clearable);
    for (const blank of blanks) {
      const line = ["Full", ...columns.map(() => `"${blank}"`)].join(",");
      for (const query of ["?mode=update", "?mode=upsert", "?mode=update&matchBy=name"]) {
        const response = await send(`/customers/import${query}`, `name,${columns.join(",")}\r\n${line}\r\n`);
        expect(importCounts(response), response.text).toEqual([1, 0, 0, 1, 0]);
      }
    }
    const after = (await admin.get(`/customers/${created.customerId}`)).body;
    expect(after).toMatchObject({ ...customer, version: 1 });
  });

  test("a blank cell leaves each column of an opportunity unchanged; on creation it gives the default", async () => {
    const fields = {
      amount: "5",
      currency: "EUR",
      stage: "lost",
      probability: 0,
      expectedCloseDate: "2026-03-31",
      ownerId: "user-007",
      lostReason: "price",
    };
    const { opportunityId, pipelineId } = (await admin.post("/opportunities", { body: { customerId, name: "Full", ...fields } })).body;
    const columns = [
      ...Object.keys(fields),
      "customerId",
      "customerName",
      "pipelineId",
      "probabilityOverridden",
      "stageHistory",
      "createdAt",
    ];
    for (const blank of blanks) {
      const line = [opportunityId, ...columns.map(() => `"${blank}"`)].join(",");
      const response = await csv("/opportunities/import?mode=update", `opportunityId,${columns.join(",")}\n${line}\n`);
      expect(importCounts(response), response.text).toEqual([1, 0, 0, 1, 0]);
    }
    expect((await admin.get(`/opportunities/${opportunityId}`)).body).toMatchObject({ ...fields, amount: "5.00", pipelineId, version: 1 });
    const others = columns.filter((column) => column !== "customerName");
    const made = await csv(
      "/opportunities/import",
      `name,customerName,${others.join(",")}\nNew,Buyer,${others.map(() => " ").join(",")}\n`,
    );
    expect(importCounts(made), made.text).toEqual([1, 1, 0, 0, 0]);
    expect((await opportunities())[1]).toMatchObject({
      name: "New",
      amount: "0.0000",
      currency: "CNY",
      stage: "prospecting",
      probability: "10.00",
      lost_reason: null,
    });
  });

  test("a list cell with only separators is empty; null in JSON empties a field", async () => {
    await admin.post("/customers", { body: { name: "Tagged", tags: ["a"], notes: "x" } });
    expect(importCounts(await csv("/customers/import?mode=update", "name,tags\nTagged,;\nTagged, | ;\n"))).toEqual([2, 0, 0, 1, 1]);
    const emptied = await admin.post("/customers/import", { body: { mode: "update", items: [{ name: "Tagged", notes: null }] } });
    expect(importCounts(emptied)).toEqual([1, 0, 1, 0, 0]);
    const [row] = await inspect<object>(tenantId, "select * from $tenant.customers where name = 'Tagged'");
    expect(row).toMatchObject({ tags: ["a"], notes: null });
  });

  test("a line with only blank cells is not a row", async () => {
    expect(importCounts(await csv("/customers/import", "name,notes\n \u200B,\u3000\nA,\n"))).toEqual([1, 1, 0, 0, 0]);
  });
});

describe("an empty lostReason", () => {
  test("a stored empty lostReason does not block edits, and re-importing an export changes nothing", async () => {
    const items = [{ customerId, name: "Lost", stage: "lost", lostReason: "" }];
    expect(importCounts(await admin.post("/opportunities/import", { body: { items } }))).toEqual([1, 1, 0, 0, 0]);
    const [{ opportunity_id: id } = {}] = await opportunities();
    for (const stored of [null, ""]) {
      await inspect(tenantId, "update $tenant.opportunities set lost_reason = $1", [stored]);
      const exported = (await admin.get("/opportunities/export?format=csv")).text;
      const page = (await admin.get("/opportunities/export")).body.data;
      for (const mode of ["create", "upsert", "update"]) {
        expect(importCounts(await csv(`/opportunities/import?mode=${mode}`, exported))).toEqual([1, 0, 0, 1, 0]);
        expect(importCounts(await admin.post("/opportunities/import", { body: { mode, items: page } }))).toEqual([1, 0, 0, 1, 0]);
      }
      const edited = await admin.patch(`/opportunities/${id}`, { body: { name: `Lost ${stored === null}` } });
      expect(edited.status, edited.text).toBe(200);
    }
  });
});

describe("a probability in a file", () => {
  const row = (probability: string, more = "") =>
    `name,customerName,probability${more ? ",probabilityOverridden" : ""}\nP,Buyer,${probability}${more}\n`;

  test("an imported probability between 0 and 1 is rejected as ambiguous, unless it has a percent sign", async () => {
    for (const probability of ["0.4", "0.01", "0.99", " 0.5 ", "０.5"]) {
      const response = await csv("/opportunities/import?dryRun=true", row(probability));
      expect(problems(response), probability).toEqual([
        ["probability", "INVALID_FORMAT", "may be a percentage or a fraction of 1: write 40% or 0.4% for what is meant"],
      ]);
      const items = [{ customerId, name: "P", probability: Number(probability.normalize("NFKC")) }];
      expect(problems(await admin.post("/opportunities/import", { body: { items } }))).toEqual(problems(response));
    }
    const read: Record<string, number> = { "50%": 50, "50 %": 50, "50％": 50, "0.4%": 0.4, "0": 0, "1": 1, "12.5": 12.5, "100%": 100 };
    for (const [probability, stored] of Object.entries(read)) {
      const response = await csv("/opportunities/import", row(probability));
      expect(importCounts(response), response.text).toEqual([1, 1, 0, 0, 0]);
      expect(Number((await opportunities())[0]?.probability), probability).toBe(stored);
      await inspect(tenantId, "delete from $tenant.opportunities");
    }
  });

  test("an imported probability that is not a number is an error of its column", async () => {
    for (const probability of ["fifty", "101", "101%", "-1", "1e1", "50%%", "%"]) {
      const [[field, code, message] = []] = problems(await csv("/opportunities/import?dryRun=true", row(probability)));
      expect([field, code], probability).toEqual(["probability", "INVALID_FORMAT"]);
      expect(message).not.toContain("JSON");
    }
  });

  test("that a record has already is no fraction: one's own export changes nothing", async () => {
    const body = { customerId, name: "Tiny", probability: 0.4 };
    const { opportunityId } = (await admin.post("/opportunities", { body })).body;
    const exported = (await admin.get("/opportunities/export?format=csv")).text;
    for (const mode of ["create", "upsert", "update"])
      expect(importCounts(await csv(`/opportunities/import?mode=${mode}`, exported))).toEqual([1, 0, 0, 1, 0]);
    const changed = await csv("/opportunities/import?mode=update", `opportunityId,probability\n${opportunityId},0.5\n`);
    expect(problems(changed)[0].slice(0, 2)).toEqual(["probability", "INVALID_FORMAT"]);
    const exact = await csv("/opportunities/import?mode=update", `opportunityId,probability\n${opportunityId},0.5%\n`);
    expect(importCounts(exact), exact.text).toEqual([1, 0, 1, 0, 0]);
  });
});

describe("a cell of another kind", () => {
  test("boolean cells accept what spreadsheets, people and exports write", async () => {
    await admin.post("/opportunities", { body: { customerId, name: "Own", probability: 33 } });
    await admin.post("/opportunities", { body: { customerId, name: "Stage's" } });
    const exported = (await admin.get("/opportunities/export?format=csv")).text;
    const pairs = [
      ["TRUE", "FALSE"],
      ["True", "False"],
      ["是", "否"],
      ["yes", "no"],
      ["Y", "N"],
      ["1", "0"],
      [" true ", " false "],
    ] as const;
    for (const [yes, no] of pairs) {
      const saved = exported.replaceAll(",true,", `,${yes},`).replaceAll(",false,", `,${no},`);
      expect(saved).not.toBe(exported);
      for (const mode of ["create", "update"]) {
        const response = await csv(`/opportunities/import?mode=${mode}`, saved);
        expect(importCounts(response), response.text).toEqual([2, 0, 0, 2, 0]);
      }
    }
    const wrong = await csv("/opportunities/import", "name,customerName,probabilityOverridden\nX,Buyer,perhaps\n");
    expect(problems(wrong)).toEqual([
      ["probabilityOverridden", "INVALID_FORMAT", "must be true or false; yes, no, 1, 0, 是 and 否 are also accepted"],
    ]);
  });

  test("errors of a JSON cell name its column", async () => {
    const response = await csv("/customers/import", 'name,customFields\nA,region=east\nB,"{""a"":1,""a"":2}"\nC,"[1]"\n');
    expect(problems(response)).toEqual([
      ["customFields", "INVALID_FORMAT", 'must be a JSON object such as {"region":"east"}'],
      ["customFields", "INVALID_FORMAT", "a: is given more than once"],
      ["customFields", "INVALID_FORMAT", expect.stringContaining("must be an object")],
    ]);
    const deep = await csv("/customers/import", `name,customFields\nA,"${"[".repeat(40)}${"]".repeat(40)}"\n`);
    expect(problems(deep)).toEqual([["customFields", "INVALID_FORMAT", "is nested more than 32 levels deep"]]);
  });
});

describe("one's own export", () => {
  test("of customers with odd values changes nothing, also after it was saved with other line ends and without its mark", async () => {
    const odd = [
      { name: "=Formula", contactName: "@x", notes: "-1\t\r\n2", tags: ["a;b", "c|d", "e\\f", "；"], level: "", customFields: {} },
      { name: "'=quoted", address: "-x", customFields: { b: 1, a: [true, null, 'x,"y"'], c: { d: "\u2028" } } },
      { name: "' '", notes: "''", source: '"', industry: "a,b", ownerId: "=1" },
      { name: "İstanbul ﷺ", contactName: "", notes: "", tags: [] },
      { name: "0", contactPhone: "+86 138-0013-8001", contactEmail: "ab@example.com", level: "'" },
    ];
    for (const body of odd) expect((await admin.post("/customers", { body })).status).toBe(201);
    const exported = (await admin.get("/customers/export?format=csv")).text;
    const page = (await admin.get("/customers/export")).body.data;
    const before = await inspect(tenantId, "select * from $tenant.customers order by name");
    for (const mode of ["create", "upsert", "update"]) {
      const response = await csv(`/customers/import?mode=${mode}`, exported);
      expect(importCounts(response), response.text).toEqual([6, 0, 0, 6, 0]);
      expect(importCounts(await admin.post("/customers/import", { body: { mode, items: page } }))).toEqual([6, 0, 0, 6, 0]);
    }
    expect(importCounts(await csv("/customers/import?mode=update", exported.replace("\uFEFF", "")))).toEqual([6, 0, 0, 6, 0]);
    expect(await inspect(tenantId, "select * from $tenant.customers order by name")).toEqual(before);
  });
});

describe("a file in another encoding", () => {
  const windows1252 = Buffer.from("name\nFa. Muller\nFa. M\xFCller\n", "latin1");

  test("is refused with the byte and the line, names the encodings that are served, and recommends none that would corrupt it", async () => {
    const response = await csv("/customers/import", windows1252);
    expect([response.status, response.body.code]).toEqual([400, "BAD_REQUEST"]);
    expect(response.body.message).toMatch(/byte 22 \(0xFC\) in line 3\./);
    expect(response.body.message).toContain("save one of any other encoding as UTF-8");
    expect(response.body.message).not.toMatch(/may need|try/i);
    const formed = await csv(
      "/customers/import",
      Buffer.concat([Buffer.from('--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'), windows1252, Buffer.from("\r\n--b--\r\n")]),
      "multipart/form-data; boundary=b",
    );
    expect(formed.body.message).toBe(response.body.message);
  });

  test("is told where it goes wrong wherever that is: across pieces, at its end, within a character", async () => {
    const long = Buffer.concat([Buffer.from(`name\n${"某某公司\n".repeat(20_000)}`), Buffer.from([0xe5, 0x8d, 0x0a])]);
    const cases: [Buffer, number, number][] = [
      [Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, 0xe9, 0x72, 0x0a]), 6, 2],
      [Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, 0xe5, 0x8d]), 6, 2],
      [Buffer.from([0xff, 0xfe, 0x6e, 0x00]), 1, 1],
      [Buffer.from([0x6e, 0xc0, 0x80]), 2, 1],
      [long, 5 + 20_000 * 13 + 1, 20_002],
    ];
    for (const [bytes, byte, line] of cases) {
      const { status, body } = await csv("/customers/import", bytes);
      expect([status, body.message]).toEqual([400, expect.stringMatching(new RegExp(`byte ${byte} \\(0x..\\) in line ${line}\\.`))]);
    }
  });

  test("that is said to be GBK is refused where it is not, with the line", async () => {
    const head = Buffer.from("name\nA\n");
    for (const bytes of [[0xff], [0x81, 0x20], [0xaa, 0xa1], [0xb9], [0x81, 0x30, 0x81, 0x30]]) {
      const raw = Buffer.concat([
        head,
        Buffer.from(bytes),
        bytes.length === 1 && bytes[0] === 0xb9 ? Buffer.alloc(0) : Buffer.from("\nB\n"),
      ]);
      const { status, body } = await csv("/customers/import", raw, "text/csv; charset=gbk");
      expect([status, body.message], String(bytes)).toEqual([400, expect.stringContaining("line 3")]);
    }
    expect(await inspect(tenantId, "select from $tenant.imports")).toEqual([]);
  });
});
