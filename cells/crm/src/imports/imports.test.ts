import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestAnswer, TestCell, TestClient } from "@cell/cell/testing";
import { startCrm } from "../testing.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

const fresh = async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
};
const csv = (text: string | Uint8Array, query = "", type = "text/csv"): Promise<TestAnswer> =>
  admin.post(`/customers/import${query}`, { raw: text, headers: { "content-type": type } });
const json = (body: object): Promise<TestAnswer> => admin.post("/customers/import", { body });

describe("smoke", () => {
  beforeAll(fresh);
  test("json", async () => {
    const a = await json({ items: [{ name: "A", contactPhone: "13800138000" }, { name: "B", contactPhone: "x" }, { name: "A" }] });
    console.log(a.status, a.text);
    expect(a.status).toBe(200);
  });
  test("csv", async () => {
    const a = await csv("\uFEFF客户名称,联系电话,foo\r\nC,13800138000,1\r\nD,,\r\n");
    console.log(a.status, a.text);
    const b = await csv("客户名称,联系电话\r\nC,13800138000\r\n'=D,\r\n\"E\r\nF\",\r\n");
    console.log(b.status, b.text);
    const e = await admin.get(a.body.errorFileUrl.replace("/api/v1/crm", ""));
    console.log(e.status, e.text);
    const x = await admin.get("/customers/export?format=csv");
    console.log(x.status, JSON.stringify([...x.headers]), x.text);
    const y = await csv(x.text);
    console.log(y.text);
    const r = await admin.post(`/imports/${b.body.importId}/revert`);
    console.log(r.status, r.text);
    const x2 = await admin.get("/customers/export");
    console.log(x2.status, x2.text);
  });
});
