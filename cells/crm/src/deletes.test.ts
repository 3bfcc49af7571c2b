import { operationsOf } from "@cell/cell/testing/conformance";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { crmDocument } from "./openapi.ts";
import { newCustomer } from "./testing/requests.ts";
import { tenantPerFile } from "./testing/tenants.ts";
import { auditOf } from "./testing/test-crm.ts";

const deletes = operationsOf(await crmDocument()).filter(({ method, permission }) => method === "DELETE" && permission !== "cell:admin");

let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ tenantId, admin } = given);
  customerId = await newCustomer(admin, "Of deletes");
});

const samples: Record<string, () => object> = {
  "/customers/{id}": () => ({ name: "To be deleted" }),
  "/contacts/{id}": () => ({ customerId, name: "To be deleted" }),
  "/opportunities/{id}": () => ({ customerId, name: "To be deleted" }),
  "/contracts/{id}": () => ({ customerId, name: "To be deleted", amount: "1" }),
  "/webhooks/{id}": () => ({ url: "https://example.com/hook", events: ["*"] }),
};

/** A new record of a path's, by its id. */
async function made(path: string): Promise<string> {
  const response = await admin.post(path.replace("/{id}", ""), { body: samples[path]?.() ?? {} });
  expect(response.status, response.text).toBe(201);
  const [id] = Object.entries(response.body as Record<string, string>).find(([name]) => name.endsWith("Id") && name !== "tenantId") ?? [];
  return response.body[id ?? ""];
}

test("every DELETE is one of those tried here", () => {
  expect(deletes.map(({ path }) => path).sort()).toEqual(Object.keys(samples).sort());
});

test.each(deletes.map(({ path }) => path))(
  "DELETE %s under the same request id answers again and writes once; without one the second is 404",
  async (path) => {
    const record = path.replace("{id}", await made(path));
    const key = `delete-${path.split("/")[1]}`;
    const first = await admin.delete(record, { key });
    const again = await admin.delete(record, { key });
    expect([first.status, again.status, again.text]).toEqual([200, 200, first.text]);
    expect([first.headers.get("idempotency-replayed"), again.headers.get("idempotency-replayed")]).toEqual([null, "true"]);
    expect((await admin.delete(record)).status).toBe(404);
    expect((await admin.delete(record, { key: `${key}-again` })).status).toBe(404);
    const refused = await admin.delete(record, { key, headers: { "x-idempotency-mode": "reject" } });
    expect([refused.status, refused.body.details]).toMatchObject([409, { reason: "ALREADY_PROCESSED" }]);
    const [, , id = ""] = record.split("/");
    expect((await auditOf(tenantId, id)).map(({ action }) => action)).toEqual(["create", "delete"]);
  },
);

test.each(deletes.map(({ path }) => path))("twenty DELETE %s at once under one id delete once", async (path) => {
  const id = await made(path);
  const responses = await Promise.all(Array.from({ length: 20 }, () => admin.delete(path.replace("{id}", id), { key: `at-once-${id}` })));
  const done = responses.filter(({ status }) => status === 200);
  expect(new Set(done.map(({ text }) => text)).size).toBe(1);
  for (const response of responses) if (response.status !== 200) expect(response.body.details.reason).toBe("IN_PROGRESS");
  expect((await auditOf(tenantId, id)).map(({ action }) => action)).toEqual(["create", "delete"]);
});
