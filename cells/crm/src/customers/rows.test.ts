import type { TestClient } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCrm, type TestCrm } from "../testing/test-crm.ts";

let cell: TestCrm;
let writer: TestClient;
let reader: TestClient;

beforeAll(async () => {
  cell = await startCrm();
  const tenantId = await cell.tenant();
  writer = cell.client(tenantId);
  reader = cell.client(tenantId, { permissions: ["crm:read"] });
});
afterAll(() => cell.stop());

const awkward = [
  'quotes " and \\ and / here',
  "line\nfeed\ttab\u0001\u001f\u007f",
  "某某公司 \u{1F600} \u2028\u2029 \uFFFD é",
  "</script>",
  "-",
  "*",
  "x".repeat(255),
];

test("a list and a detail write each record as its creation was answered, for a caller who sees nothing in the clear, member by member", async () => {
  const created = new Map<string, object>();
  for (const [index, text] of awkward.entries()) {
    const body = {
      name: `${index} ${text}`.slice(0, 255),
      contactName: text,
      contactPhone: index % 2 === 0 ? "+86 138 0013 8000" : null,
      contactEmail: index % 3 === 0 ? `é${index}@example.com` : "",
      address: null,
      notes: "",
      tags: [[], ["vip", "key account"], ["NULL", "null", "Nova"]][index] ?? ["a,b", 'c"d', "\\", "{}", "某", text.slice(0, 60)],
      customFields: { [text.slice(0, 60)]: [text, 1, 1.5, true, null, { deep: { er: [] } }] },
    };
    const made = await writer.post("/customers", { body });
    expect(made.status, made.text).toBe(201);
    created.set(made.body.customerId, made.body);
  }
  const { data } = (await reader.get("/customers?pageSize=50")).body as { data: { customerId: string }[] };
  expect(data).toHaveLength(awkward.length);
  for (const row of data) {
    const { body } = await reader.get(`/customers/${row.customerId}`);
    expect(Object.entries(row)).toEqual(Object.entries(created.get(row.customerId) ?? {}));
    expect(Object.entries(body)).toEqual(Object.entries(created.get(row.customerId) ?? {}));
  }
});

test("amounts, numbers and nulls too, masked and revealed", async () => {
  const { body: customer } = await writer.post("/customers", { body: { name: "Amounts" } });
  const { customerId } = customer as { customerId: string };
  const amounts = {
    CNY: { 0: "0.00", "7.2": "7.20", "99999999999.99": "99999999999.99" },
    JPY: { 0: "0", 1200: "1200" },
    KWD: { "7.125": "7.125", 1: "1.000" },
  };
  const created = new Map<string, { masked: object; clear: object }>();
  for (const [currency, values] of Object.entries(amounts)) {
    for (const [amount, shown] of Object.entries(values)) {
      const made = await writer.post("/opportunities", { body: { customerId, name: `${amount} ${currency}`, amount, currency } });
      expect(made.status, made.text).toBe(201);
      created.set(made.body.opportunityId, { masked: made.body, clear: { ...made.body, amount: shown, _masked: [] } });
    }
  }
  for (const [query, caller, form] of [
    ["", reader, "masked"],
    ["&reveal=amount", writer, "clear"],
  ] as const) {
    const { data } = (await caller.get(`/opportunities?pageSize=50${query}`)).body as { data: { opportunityId: string }[] };
    expect(data).toHaveLength(7);
    for (const row of data) {
      const { body } = await caller.get(`/opportunities/${row.opportunityId}`);
      const expected = Object.entries(created.get(row.opportunityId)?.[form] ?? {});
      expect(Object.entries(row)).toEqual(expected);
      expect(Object.entries(body)).toEqual(expected);
    }
  }
});
