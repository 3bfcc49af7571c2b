import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inspect, startCrm } from "../testing/test-crm.ts";

let cell: TestCell;
let other: TestCell;

beforeAll(async () => {
  cell = await startCrm();
  other = await startCrm();
});
afterAll(() => Promise.all([cell.stop(), other.stop()]));

/** A tenant with customers by the names that `name`, an expression of `n`, makes; the n-th is the n-th newest. */
async function filled(name: string, count: number): Promise<{ tenantId: string; admin: TestClient }> {
  const tenantId = await cell.tenant();
  await inspect(
    tenantId,
    `insert into $tenant.customers (customer_id, name, name_key, status, owner_id, tags, custom_fields, created_at, updated_at, version)
     select gen_random_uuid(), name, lower(name), 'lead', 'user-001', '{}', '{}', now() - n * interval '1 second', now(), 1
     from (select n, ${name} as name from generate_series(1, ${count}) n) as made`,
  );
  await inspect(tenantId, "vacuum analyze $tenant.customers");
  return { tenantId, admin: cell.client(tenantId) };
}

async function readAllPages(client: TestClient, query: string): Promise<string[]> {
  const names: string[] = [];
  for (let cursor = ""; ; ) {
    const { body } = await client.get(`/customers?${query}&cursor=${cursor}`);
    names.push(...body.data.map((row: { name: string }) => row.name));
    if (!body.nextCursor) return names;
    cursor = encodeURIComponent(body.nextCursor);
  }
}

test("a keyword finds the oldest records like the newest, on every page and however often it is asked for", async () => {
  const { admin } = await filled("case when n % 1000 = 0 then '稀土 needle ' else 'straw ' end || 'N' || n || 'E'", 6_000);
  const needles = [1, 2, 3, 4, 5, 6].map((n) => `稀土 needle N${n}000E`);
  for (const keyword of ["needle", "稀土", "土", "NEEDLE n"]) {
    const query = `keyword=${encodeURIComponent(keyword)}`;
    for (let times = 0; times < 8; times++) {
      const { body } = await admin.get(`/customers?${query}&pageSize=3`);
      expect([body.total, body.totalIsLowerBound]).toEqual([6, undefined]);
      expect(body.data.map((row: { name: string }) => row.name)).toEqual(needles.slice(0, 3));
    }
    expect(await readAllPages(admin, `${query}&pageSize=4`)).toEqual(needles);
    const second = (await admin.get(`/customers?${query}&pageSize=4&page=2`)).body;
    expect(second.data.map((row: { name: string }) => row.name)).toEqual(needles.slice(4));
  }
  const straws = await readAllPages(admin, "keyword=straw&pageSize=200");
  expect([straws.length, new Set(straws).size, straws[0], straws.at(-1)]).toEqual([5_994, 5_994, "straw N1E", "straw N5999E"]);
  for (const keyword of ["straw needle", "zz", "1 N"]) expect((await admin.get(`/customers?keyword=${keyword}`)).body.total).toBe(0);
});

test("a bound stays one only as long as it holds, also when another process writes", async () => {
  const { tenantId, admin } = await filled("'Counted ' || n", 10_003);
  const count = async () => {
    const { total, totalIsLowerBound } = (await admin.get("/customers?keyword=counted")).body;
    return [total, totalIsLowerBound];
  };
  const elsewhere = other.client(tenantId);
  const { data } = (await elsewhere.get("/customers?keyword=counted")).body;
  const seen: unknown[] = [await count()];
  for (const { customerId } of data.slice(0, 5)) {
    expect((await elsewhere.delete(`/customers/${customerId}`)).status).toBe(200);
    seen.push(await count());
  }
  const bound = [10_000, true];
  expect(seen).toEqual([bound, bound, bound, [10_000, undefined], [9_999, undefined], [9_998, undefined]]);
  await elsewhere.post("/customers", { body: { name: "Counted anew" } });
  expect(await count()).toEqual([9_999, undefined]);
  expect((await admin.get("/customers?keyword=counted&total=exact")).body.total).toBe(9_999);
});

test("a keyword of spaces, signs and what lies outside the basic plane finds what holds it side by side, and nothing else", async () => {
  const { admin } = await filled("(array['a - - b', 'a -- b', 'met at', '😀a', '😀 a', 'x...', 'x. ..', '讯 通', '讯通'])[n]", 9);
  const found = async (term: string) => (await readAllPages(admin, `keyword=${encodeURIComponent(term)}`)).sort();
  expect(await found("- -")).toEqual(["a - - b"]);
  expect(await found("--")).toEqual(["a -- b"]);
  expect(await found("tt")).toEqual([]);
  expect(await found("t a")).toEqual(["met at"]);
  expect(await found("😀a")).toEqual(["😀a"]);
  expect(await found("😀")).toEqual(["😀 a", "😀a"]);
  expect(await found("...")).toEqual(["x..."]);
  expect(await found(". .")).toEqual(["x. .."]);
  expect(await found("讯 通")).toEqual(["讯 通"]);
  expect(await found("讯通")).toEqual(["讯通"]);
});
