import { expect, test } from "vitest";
import { createTenant, type IssuedKey, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let gateway: TestGateway;
let key: IssuedKey;

gatewayPerFile(async (given) => {
  ({ gateway } = given);
  key = await createTenant(gateway, "held");
});
const patch = (quotaBytes: unknown) => gateway.call("/api/admin/tenants/held", { method: "PATCH", json: { quotaBytes } });

test("a tenant has no storage quota until the operator sets one; null removes it", async () => {
  expect((await gateway.call("/api/admin/tenants/held")).body).toMatchObject({ quotaBytes: null });
  for (const quotaBytes of [0, 5_000_000_000, null]) {
    expect((await patch(quotaBytes)).body).toMatchObject({ quotaBytes });
    expect((await gateway.call("/api/admin/tenants/held")).body).toMatchObject({ quotaBytes });
  }
  for (const quotaBytes of [-1, 1.5, "1", 1e300]) expect((await patch(quotaBytes)).status).toBe(400);
});

test("a tenant's own administrator cannot change its quota", async () => {
  const response = await gateway.call("/api/admin/tenants/held", { method: "PATCH", json: { quotaBytes: null }, key: key.key });
  expect(response.status).toBe(403);
});

test("the cells receive a quota with each request, immediately after it was set", async () => {
  for (const quotaBytes of [1_000, null]) {
    await patch(quotaBytes);
    const { body } = await gateway.call<{ caller: { principal: { quotaBytes?: number } } }>("/api/v1/crm/customers", {
      key: key.key,
      tenantId: "held",
    });
    expect(body.caller.principal.quotaBytes).toBe(quotaBytes ?? undefined);
  }
});
