import { expect, test, vi } from "vitest";
import { createTenant, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let gateway: TestGateway;

gatewayPerFile(async (given) => {
  ({ gateway } = given);
  await createTenant(gateway, "names");
});
/** Each way in which a name is received. */
const named: Record<string, (name: string) => ReturnType<TestGateway["call"]>> = {
  "a new tenant's": (name) => gateway.call("/api/admin/tenants", { json: { tenantId: "other", name } }),
  "a tenant's": (name) => gateway.call("/api/admin/tenants/names", { method: "PATCH", json: { name } }),
  "a key's": (name) => gateway.call("/api/admin/keys", { json: { tenantId: "names", userId: "u", role: "sales", name } }),
  "a restored tenant's": (name) => gateway.call("/api/admin/tenants/names/restore", { json: { cell: "crm", name, version: 1 } }),
};

test.each(Object.entries(named))("%s name that is too long is rejected at low cost, whatever its length", async (_, send) => {
  const normalize = vi.spyOn(String.prototype, "normalize");
  try {
    for (const length of [40, 20_000]) {
      const response = await send(`a${"\u0301\u0327".repeat(length / 2)}`);
      expect(response.status).toBe(400);
    }
    expect(normalize.mock.contexts.filter((text) => String(text).length > 1_020)).toEqual([]);
  } finally {
    normalize.mockRestore();
  }
});

test.each(Object.entries(named))("%s name needs visible characters, and is stored trimmed and composed", async (what, send) => {
  for (const empty of ["", " \u0085", "\u200b\u00ad"]) expect((await send(empty)).status).toBe(400);
  if (what === "a restored tenant's") return;
  expect((await send("\u3000 Cafe\u0301\u0085")).body).toMatchObject({ name: "Caf\u00e9" });
});
