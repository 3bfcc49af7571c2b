import type { TestClient } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { storedResponses } from "../testing/test-crm.ts";

let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ tenantId, admin } = given);
});

const create = async (body: object) => {
  const response = await admin.post("/customers", { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
};

test("every field comes back as it was given; the owner is the caller where none is given", async () => {
  const given = {
    name: "All of it",
    contactName: "张伟",
    contactPhone: "010-88886666",
    contactEmail: "wei@example.com",
    industry: "steel",
    level: "A",
    source: "fair",
    status: "active",
    address: "1 Main Street",
    tags: ["vip", "east"],
    notes: "two\nlines",
    customFields: { region: "east", sizes: [1, null, { deep: true }] },
  };
  const { customerId } = await create(given);
  const { body } = await admin.get(`/customers/${customerId}`);
  expect(body).toMatchObject({ ...given, tenantId, ownerId: "user-001", version: 1, updatedAt: body.createdAt });
  expect(body.createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(customerId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
});

test("texts are trimmed and composed, in the body and in the question", async () => {
  expect((await create({ name: "  Cafe\u0301  ", notes: " e\u0301 " })).name).toBe("Caf\u00e9");
  const { total, data } = (await admin.get(`/customers?keyword=${encodeURIComponent("cafe\u0301")}`)).body;
  expect([total, data[0].notes]).toEqual([1, "\u00e9"]);
});

test("a name has 1 to 255 characters, Chinese ones too", async () => {
  for (const name of ["x", "某".repeat(255)]) expect((await create({ name })).name).toBe(name);
  const refused = await admin.post("/customers", { body: { name: "某".repeat(256) } });
  expect(refused.body.details.fields).toEqual([expect.objectContaining({ path: "name", code: "TOO_LONG" })]);
});

test("a stale If-Match keeps a customer from being deleted", async () => {
  const { customerId } = await create({ name: "Deleted with care" });
  await admin.patch(`/customers/${customerId}`, { body: { level: "B" } });
  const stale = await admin.delete(`/customers/${customerId}`, { headers: { "if-match": '"1"' } });
  expect([stale.status, stale.body.code, stale.body.details.currentVersion]).toEqual([412, "VERSION_CONFLICT", 2]);
  expect((await admin.delete(`/customers/${customerId}`, { headers: { "if-match": '"2"' } })).status).toBe(200);
});

test("a restore is refused while another has the name by another spelling", async () => {
  const { customerId } = await create({ name: "Ｗｉｄｅ  Name" });
  await admin.delete(`/customers/${customerId}`);
  const successor = await create({ name: "wide name" });
  const refused = await admin.post(`/customers/${customerId}/restore`);
  expect([refused.status, refused.body.details]).toEqual([409, { existingId: successor.customerId }]);
});

test("a page has up to 200", async () => {
  expect((await admin.get("/customers?pageSize=200")).body.pageSize).toBe(200);
});

test("a request id that is malformed or given twice is refused, and nothing is written", async () => {
  const body = { name: "Never written" };
  for (const name of ["idempotency-key", "x-request-id"]) {
    for (const value of ["", "a b", "a, b", "x".repeat(129), "a/b"]) {
      const response = await admin.post("/customers", { body, headers: { [name]: value } });
      expect([response.status, response.body.code], `${name}: ${value}`).toEqual([400, "BAD_REQUEST"]);
    }
  }
  expect((await admin.get("/customers?keyword=never written")).body.total).toBe(0);
});

test("the payload under a key is its meaning: another order of keys or white space is a repeat", async () => {
  const headers = { "content-type": "application/json" };
  const first = await admin.post("/customers", { raw: '{"name":"Canonical","level":"A"}', headers, key: "canonical" });
  const again = await admin.post("/customers", { raw: '{ "level": "A",\n"name": "Canonical" }', headers, key: "canonical" });
  expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
});

test("a read keeps no answer under its id, a delete does", async () => {
  const { customerId } = await create({ name: "Not kept" });
  const before = await storedResponses(tenantId);
  await admin.get(`/customers/${customerId}`, { key: "a-read" });
  expect(await storedResponses(tenantId)).toBe(before);
  await admin.delete(`/customers/${customerId}`, { key: "a-delete" });
  expect(await storedResponses(tenantId)).toBe(before + 1);
});

test("an address is masked by its own form, a phone in any spelling, and nothing stays nothing", async () => {
  const named = await create({ name: "Masked forms", contactPhone: "(010) 8888-6666", contactEmail: "ab@example.com" });
  expect(named).toMatchObject({ contactPhone: "010****6666", contactEmail: "***@example.com", _masked: ["contactPhone", "contactEmail"] });
  expect(await create({ name: "Nothing", contactPhone: "" })).toMatchObject({ contactPhone: null, contactEmail: null, _masked: [] });
});

test("a restore that is replayed after another delete answers as the first did, and brings nothing back", async () => {
  const { customerId } = (await admin.post("/customers", { body: { name: "Restored once" } })).body;
  await admin.delete(`/customers/${customerId}`);
  const first = await admin.post(`/customers/${customerId}/restore`, { key: "restore-once" });
  await admin.delete(`/customers/${customerId}`);
  const again = await admin.post(`/customers/${customerId}/restore`, { key: "restore-once" });
  expect([again.status, again.text]).toEqual([200, first.text]);
  expect((await admin.get(`/customers/${customerId}`)).status).toBe(404);
});

test("a merge in which one of the others has just gone changes nothing at all", async () => {
  const made = async (name: string) => (await admin.post("/customers", { body: { name } })).body.customerId;
  const [survivor, source, gone] = [await made("Merge survivor"), await made("Merge source"), await made("Merge gone")];
  await admin.delete(`/customers/${gone}`);
  expect((await admin.post(`/customers/${survivor}/merge`, { body: { sourceIds: [source, gone] } })).status).toBe(404);
  expect((await admin.get(`/customers/${survivor}`)).body.version).toBe(1);
  expect((await admin.get(`/customers/${source}`)).status).toBe(200);
});
