import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { mostCustomFieldBytes, mostCustomFields } from "./custom-fields.ts";
import { tenantPerFile } from "./testing/tenants.ts";
import { auditOf, inspect } from "./testing/test-crm.ts";

let tenantId: string;
let admin: TestClient;
let names = 0;

tenantPerFile((given) => {
  ({ tenantId, admin } = given);
});

async function create(customFields: object): Promise<string> {
  const response = await admin.post("/customers", { body: { name: `Customer ${names++}`, customFields } });
  expect(response.status, response.text).toBe(201);
  return response.body.customerId;
}

const keys = (count: number, prefix = "k") => Object.fromEntries(Array.from({ length: count }, (_, index) => [`${prefix}${index}`, index]));
/** Custom fields of so many bytes of JSON. */
const bytes = (count: number, key = "k") => ({
  [key]: "某".repeat(8) + "x".repeat(count - Buffer.byteLength(JSON.stringify({ [key]: "某".repeat(8) }))),
});
const fieldsOf = async (id: string) => (await admin.get(`/customers/${id}`)).body.customFields;

/** The problems found for each way in which custom fields are written, except by a merge. */
const variants: Record<string, (customFields: object) => Promise<TestResponse>> = {
  "a creation": (customFields) => admin.post("/customers", { body: { name: `Customer ${names++}`, customFields } }),
  "a change": async (customFields) => admin.patch(`/customers/${await create({})}`, { body: { customFields } }),
  "an item of an import": (customFields) =>
    admin.post("/customers/import", { body: { items: [{ name: `Customer ${names++}`, customFields }] } }),
  "a cell of a file": (customFields) =>
    admin.post("/customers/import", {
      raw: `name,customFields\nCustomer ${names++},"${JSON.stringify(customFields).replaceAll('"', '""')}"\n`,
      headers: { "content-type": "text/csv" },
    }),
};

function codes({ status, body }: TestResponse): string[] {
  if (status === 400) return body.details.fields.map(({ code }: { code: string }) => code);
  return (body.errors ?? []).map(({ code }: { code: string }) => code);
}

test.each(Object.entries(variants))("%s takes 100 keys and 64 KB of JSON, and no more", async (_, send) => {
  for (const fitting of [keys(mostCustomFields), bytes(mostCustomFieldBytes)]) expect(codes(await send(fitting))).toEqual([]);
  for (const excess of [keys(mostCustomFields + 1), bytes(mostCustomFieldBytes + 1)])
    expect(codes(await send(excess))).toEqual(["TOO_LONG"]);
});

test.each(Object.entries(variants))("%s takes keys and texts as all other texts are taken", async (_, send) => {
  for (const [fields, code] of [
    [{ ["k".repeat(65)]: 1 }, "TOO_LONG"],
    [{ " \u200b": 1 }, "REQUIRED"],
    [{ "e\u0301": 1, é: 2 }, "INVALID_FORMAT"],
    [{ " a": 1, a: 2 }, "INVALID_FORMAT"],
    [{ a: [{ b: `x${"\u0301".repeat(31)}` }] }, "INVALID_FORMAT"],
    [{ [`x${"\u0301".repeat(31)}`]: 1 }, "INVALID_FORMAT"],
  ] as const)
    expect(codes(await send(fields)), JSON.stringify(fields)).toEqual([code]);
  const response = await send({ " a ": [" b\u3000", { c: "e\u0301", d: " " }] });
  expect(codes(response)).toEqual([]);
  const [{ customFields }] = (await admin.get("/customers?pageSize=1")).body.data;
  expect(customFields).toEqual({ a: ["b", { c: "é", d: "" }] });
});

test("a merge unites custom fields up to the limit of one record; past it the merge is rejected, and nothing is lost", async () => {
  const [survivor, other] = [await create({ ...keys(60), shared: "mine" }), await create({ ...keys(39, "l"), shared: "theirs" })];
  const merge = (into: string, from: string) => admin.post(`/customers/${into}/merge`, { body: { sourceIds: [from] } });
  expect((await merge(survivor, other)).status).toBe(200);
  expect(await fieldsOf(survivor)).toEqual({ ...keys(60), ...keys(39, "l"), shared: "mine" });

  for (const fields of [keys(1, "one-more-"), bytes(mostCustomFieldBytes, "large")]) {
    const source = await create(fields);
    const before = await fieldsOf(survivor);
    const refused = await merge(survivor, source);
    const full = Object.keys(fields).length + Object.keys(before).length > mostCustomFields;
    if (full) expect([refused.status, refused.body.code, refused.body.details]).toEqual([409, "CONFLICT", { field: "customFields" }]);
    expect([await fieldsOf(survivor), await fieldsOf(source)]).toEqual([before, fields]);
    expect((await auditOf(tenantId, source)).map(({ action }) => action)).toEqual(["create"]);
  }
});

test("custom fields stored before the limits stay readable, and do not block other changes of the record", async () => {
  const id = await create({});
  await inspect(tenantId, "update $tenant.customers set custom_fields = $2 where customer_id = $1", [id, JSON.stringify(keys(150))]);
  expect(Object.keys(await fieldsOf(id))).toHaveLength(150);
  expect((await admin.patch(`/customers/${id}`, { body: { level: "B" } })).status).toBe(200);
  const [within, beyond] = [await create({ k0: 1 }), await create({ other: 1 })];
  expect((await admin.post(`/customers/${id}/merge`, { body: { sourceIds: [within] } })).status).toBe(200);
  expect((await admin.post(`/customers/${id}/merge`, { body: { sourceIds: [beyond] } })).status).toBe(409);
});
