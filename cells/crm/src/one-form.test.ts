import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import type { TestCrm } from "./testing/test-crm.ts";

let cell: TestCrm;
let tenantId: string;
let admin: TestClient;
/** Who sees in the detail what others see in lists. */
let blind: TestClient;

tenantPerFile((given) => {
  ({ cell, tenantId, admin } = given);
  blind = cell.client(tenantId, { permissions: ["crm:read", "crm:write", "crm:export", "report:read", "audit:read", "tenant:admin"] });
});

const fields = {
  shopId: "1001",
  "10": "a key that JavaScript puts first",
  b: { "2": 1, z: [1.5, 1e21, 1e-7, -0, 100, { long: 1, a: "x : y, z" }], é: null },
  "": undefined,
};
const amounts = [
  ["CNY", "8400", "8400.00", "9.00"],
  ["CNY", "0.5", "0.50", "9.00"],
  ["JPY", "1200", "1200", "9"],
  ["KWD", "7.1", "7.100", "9.000"],
] as const;

async function made(path: string, body: object): Promise<TestResponse> {
  const response = await admin.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response;
}

/** Records of every kind: the answer of each one's creation. */
async function records(): Promise<Record<string, TestResponse>> {
  const customer = await made("/customers", {
    name: "One form",
    contactPhone: "13800138000",
    contactEmail: "wei@example.com",
    tags: ["a b", 'c"d', "NULL"],
    notes: "line\nfeed \u0001 \u2028 é 😀",
    customFields: fields,
  });
  const { customerId } = customer.body;
  const contact = await made("/contacts", { customerId, name: "x", phone: "13800138000", isPrimary: true });
  const pipeline = await made("/pipelines", {
    name: "Partners",
    stages: [
      { stage: "a", type: "open", probability: 12.5 },
      { stage: "won", type: "won" },
      { stage: "lost", type: "lost" },
    ],
  });
  const webhook = await made("/webhooks", { url: "https://hooks.example.com/", events: ["*"], enabled: false });
  const created: Record<string, TestResponse> = { customers: customer, contacts: contact, pipelines: pipeline, webhooks: webhook };
  for (const [index, [currency, amount]] of amounts.entries()) {
    const opportunity = await made("/opportunities", { customerId, name: "x", amount, currency, expectedCloseDate: "2026-03-31" });
    const contract = await made("/contracts", {
      customerId,
      name: "x",
      amount,
      currency,
      status: "active",
    });
    const payment = await made("/payments", {
      contractId: contract.body.contractId,
      amount,
      paidAt: "2026-01-31T08:00:00.123456+08:00",
    });
    created[`opportunities ${index}`] = opportunity;
    created[`contracts ${index}`] = contract;
    created[`payments ${index}`] = payment;
  }
  return created;
}

const idOf = (path: string, body: Record<string, string>) => body[`${path === "opportunities" ? "opportunity" : path.slice(0, -1)}Id`];

/** The record with this id within an answer, as it was written. */
function within(text: string, idName: string, id: string | undefined): string | undefined {
  const start = text.indexOf(`{"${idName}":"${id}"`);
  if (start < 0) return undefined;
  let depth = 0;
  let inString = false;
  for (let at = start; at < text.length; at++) {
    if (inString && text[at] === "\\") at++;
    else if (text[at] === '"') inString = !inString;
    else if (!inString && text[at] === "{") depth++;
    else if (!inString && text[at] === "}" && --depth === 0) return text.slice(start, at + 1);
  }
  return undefined;
}

describe("a record is written in one form, byte for byte:", () => {
  test("in the answer of its creation, in lists, details, exports, the 360 view and the answer to a change of nothing", async () => {
    const all = await records();
    const { customerId } = all.customers?.body ?? {};
    const view = await blind.get(`/customers/${customerId}/360`);
    for (const [name, { text, body }] of Object.entries(all)) {
      const path = name.split(" ")[0] ?? "";
      const id = idOf(path, body);
      const idName = Object.keys(body)[0] ?? "";
      // A webhook shows its secret once, and payments have counted up a contract's version.
      const expected = path === "webhooks" || path === "contracts" ? undefined : text;
      const detail = await blind.get(`/${path}/${id}`);
      const list = await admin.get(`/${path}?pageSize=200`);
      const written = within(list.text, idName, id);
      expect(written, `${name}: list and detail`).toBe(detail.text);
      if (expected !== undefined) expect(written, `${name}: list and creation`).toBe(expected);
      if (path !== "webhooks" && path !== "pipelines" && path !== "customers")
        expect(within(view.text, idName, id), `${name}: the 360 view`).toBe(written);
      if (path === "customers" || path === "opportunities") {
        const file = await blind.get(`/${path}/export?pageSize=200`);
        expect(within(file.text, idName, id), `${name}: the export`).toBe(written);
      }
      if (path === "payments" || path === "pipelines") continue;
      const same = await admin.patch(`/${path}/${id}`, { body: path === "webhooks" ? { enabled: false } : { name: body.name } });
      expect(same.text, `${name}: a change of nothing`).toBe(written);
    }
  });

  test("in the clear, too", async () => {
    const reveal: Record<string, string> = { customers: "contactPhone,contactEmail", contacts: "phone,email" };
    for (const path of ["customers", "contacts", "opportunities", "contracts", "payments", "pipelines"]) {
      const query = path === "pipelines" ? "" : `&reveal=${reveal[path] ?? "amount"}`;
      const list = await admin.get(`/${path}?pageSize=200${query}`);
      expect(list.body.data.length).toBeGreaterThan(0);
      for (const row of list.body.data) {
        const [idName = ""] = Object.keys(row);
        const detail = await admin.get(`/${path}/${row[idName]}`);
        expect(within(list.text, idName, row[idName]), path).toBe(detail.text);
      }
    }
  });

  test("a change whose custom fields differ in their order, or in how their numbers are written, changes nothing", async () => {
    const created = await made("/customers", { name: "Same fields", customFields: fields });
    const raw = `{"customFields":{"b":{"é":null,"z":[1.50,1000000000000000000000,0.0000001,0,1e2,{"a":"x : y, z","long":1}],"2":1},"10":"a key that JavaScript puts first","shopId":" 1001"}}`;
    const same = await admin.patch(`/customers/${created.body.customerId}`, { raw, headers: { "content-type": "application/json" } });
    expect([same.status, same.text]).toEqual([200, created.text]);
  });

  test("settings, whatever the order of their rates", async () => {
    const changed = await admin.patch("/settings", { body: { rates: { USD: "7.1", EUR: "7.80", AED: "1.9" } } });
    expect((await admin.get("/settings")).text).toBe(changed.text);
  });

  test("the report of an import", async () => {
    const posted = await admin.post("/customers/import", { body: { items: [{ name: "" }, { name: "ok", status: "?" }] } });
    expect((await admin.get(`/imports/${posted.body.importId}`)).text).toBe(posted.text);
  });
});

test("the audit trail says amounts, dates and custom fields as the API does, in its list, its details and its file", async () => {
  const { customerId } = (await made("/customers", { name: "Trail", customFields: { b: 1, aa: 2, a: { y: 1, x: 2 } } })).body;
  const changesOf = async (id: string) => {
    const list = await admin.get(`/audit-logs?resourceId=${id}`);
    for (const entry of list.body.data) expect(list.text).toContain((await admin.get(`/audit-logs/${entry.id}`)).text);
    const file = await admin.get(`/audit-logs?resourceId=${id}&format=csv`);
    for (const { changes } of list.body.data) expect(file.text).toContain(JSON.stringify(changes).replaceAll('"', '""'));
    return list.body.data.map((entry: { changes: { field: string; before: unknown; after: unknown }[] }) =>
      Object.fromEntries(entry.changes.map(({ field, before, after }) => [field, [before, after]])),
    );
  };
  for (const [currency, amount, shown, nine] of amounts) {
    const { opportunityId } = (await made("/opportunities", { customerId, name: "x", amount, currency })).body;
    await admin.patch(`/opportunities/${opportunityId}`, { body: { amount: "9", expectedCloseDate: "2026-03-31" } });
    const row = { opportunityId, amount, name: "y" };
    await admin.post("/opportunities/import", { body: { items: [row], mode: "update" } });
    const [imported, patched, created] = await changesOf(opportunityId);
    const listed = (await admin.get(`/opportunities?filter=opportunityId[eq]:${opportunityId}&reveal=amount`)).body.data[0].amount;
    expect(listed).toBe(shown);
    expect(created.amount).toEqual([null, shown]);
    expect(patched).toEqual({
      amount: [shown, nine],
      expectedCloseDate: [null, "2026-03-31"],
    });
    expect(imported.amount).toEqual([patched.amount[1], shown]);
    const contract = (await made("/contracts", { customerId, name: "x", amount, currency, status: "active", signedAt: "2026-01-31" })).body;
    const [signed] = await changesOf(contract.contractId);
    expect([signed.amount, signed.signedAt]).toEqual([
      [null, shown],
      [null, "2026-01-31T00:00:00.000Z"],
    ]);
    const payment = (await made("/payments", { contractId: contract.contractId, amount, paidAt: "2026-01-31" })).body;
    expect((await changesOf(payment.paymentId))[0].amount).toEqual([null, shown]);
  }
  expect(JSON.stringify((await changesOf(customerId))[0].customFields)).toBe('[null,{"a":{"x":2,"y":1},"b":1,"aa":2}]');
});

test("an amount with more decimals than its currency is exact in the trail, so that an import that is taken back brings it back", async () => {
  const { customerId } = (await made("/customers", { name: "Exact" })).body;
  const { opportunityId } = (await made("/opportunities", { customerId, name: "x", amount: "10.1234" })).body;
  const { importId } = (await admin.post("/opportunities/import", { body: { items: [{ opportunityId, amount: "20" }], mode: "update" } }))
    .body;
  const { data } = (await admin.get(`/audit-logs?resourceId=${opportunityId}&action=update`)).body;
  expect(data[0].changes).toEqual([{ field: "amount", before: "10.1234", after: "20.00" }]);
  expect((await admin.post(`/imports/${importId}/revert`)).body.reverted).toBe(1);
  expect((await admin.get(`/opportunities?filter=amount[eq]:10.1234`)).body.total).toBe(1);
});
