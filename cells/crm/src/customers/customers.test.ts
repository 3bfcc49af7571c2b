import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestCell, TestClient } from "@cell/cell/testing";
import { startCrm } from "../testing.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  cell = await startCrm();
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
});
afterAll(() => cell.stop());

const example = { name: "某某公司", contactPhone: "13800138000", contactEmail: "contact@example.com" };

describe("creating a customer", () => {
  test("the example of the interface document answers masked, and the same line again answers the same bytes", async () => {
    const first = await admin.post("/customers", { body: example, key: "req-uuid-001" });
    expect(first.status).toBe(201);
    expect(first.body).toMatchObject({ tenantId, name: "某某公司", contactPhone: "138****8000", contactEmail: "c***@example.com", status: "lead", version: 1 });
    expect(first.body._masked).toEqual(["contactPhone", "contactEmail"]);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = await admin.post("/customers", { body: example, key: "req-uuid-001" });
    expect(again.text).toBe(first.text);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    const other = await admin.post("/customers", { body: { ...example, name: "另一家" }, key: "req-uuid-001" });
    expect(other.status).toBe(409);
    expect(other.body).toMatchObject({ code: "IDEMPOTENT_CONFLICT", requestId: "req-uuid-001", details: { reason: "PAYLOAD_MISMATCH" } });
  });

  test("a name that lives already is refused with the id of who has it, however it is written", async () => {
    const first = await admin.post("/customers", { body: { name: "Straße  One" } });
    const second = await admin.post("/customers", { body: { name: " ＳＴＲＡＳＳＥ one " } });
    expect(second.status).toBe(409);
    expect(second.body).toMatchObject({ code: "DUPLICATE_NAME", details: { existingId: first.body.customerId } });
  });
});
