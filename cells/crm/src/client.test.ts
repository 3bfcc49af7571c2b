import type { TestCell } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient } from "../../../openapi/client/client/index.ts";
import { customersCreate, customersGet, customersList } from "../../../openapi/client/index.ts";
import { startCrm } from "./testing/test-crm.ts";

let cell: TestCell;
beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

test("the typed client creates, reads, lists and gets errors as the document says", async () => {
  const tenantId = await cell.tenant();
  const client = createClient({ baseUrl: cell.url });
  const speaker = cell.client(tenantId);
  const as = (key?: string) => ({ client, headers: { ...speaker.headers(key), "X-Tenant-Id": tenantId } });

  const created = await customersCreate({ ...as("typed-1"), body: { name: "By the typed client", contactPhone: "13800138000" } });
  expect(created.data).toMatchObject({ name: "By the typed client", contactPhone: "138****8000", _masked: ["contactPhone"] });
  const id = created.data?.customerId ?? "";
  expect((await customersGet({ ...as(), path: { id } })).data?.contactPhone).toBe("13800138000");
  const list = await customersList({ ...as(), query: { keyword: "typed", pageSize: 5 } });
  expect(list.data?.data.map((row) => row.customerId)).toEqual([id]);
  const refused = await customersCreate({ ...as("typed-2"), body: { name: "BY THE TYPED CLIENT" } });
  expect(refused.error).toMatchObject({ code: "DUPLICATE_NAME", details: { existingId: id } });
});
