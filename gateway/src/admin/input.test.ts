import { request } from "node:http";
import { beforeAll, describe, expect, test } from "vitest";
import { createTenant, type IssuedKey, issueKey, operatorKey, type TestGateway } from "../testing/gateway.ts";
import { gatewayPerFile } from "../testing/gateway-per-file.ts";

let gateway: TestGateway;
const tenants = "/api/admin/tenants";
const keys = "/api/admin/keys";

gatewayPerFile(async (given) => {
  ({ gateway } = given);
  await createTenant(gateway, "input");
});
interface Refused {
  message: string;
  details: { fields: { path: string; code: string; message: string }[] };
}

/** The first invalid field of an error response, as `path CODE message`. */
async function fault(path: string, init: object): Promise<string> {
  const { status, body, text } = await gateway.call<Refused>(path, init);
  expect(status, text).toBe(400);
  const [first] = body.details.fields;
  return `${first?.path} ${first?.code} ${first?.message}`;
}

const key = (more: object) => ({ json: { tenantId: "input", userId: "user-1", role: "sales", ...more } });
const patch = (json: object) => ({ method: "PATCH", json });

describe("administration errors have the same codes and messages as the cells':", () => {
  test.each([
    [tenants, { json: {} }, "tenantId REQUIRED is required"],
    [
      tenants,
      { json: { tenantId: "T1", name: "x" } },
      "tenantId INVALID_FORMAT must have 1 to 40 characters of a-z, 0-9 and inner hyphens",
    ],
    [tenants, { json: { tenantId: "n1", name: "\u200b" } }, "name REQUIRED must not be empty"],
    [tenants, { json: { tenantId: "n1", name: "x".repeat(256) } }, "name TOO_LONG must have at most 255 characters"],
    [tenants, { json: { tenantId: "n1", name: null } }, "name INVALID_FORMAT must be a string"],
    [tenants, { json: { tenantId: "n1", name: "x", bogus: 1 } }, "bogus UNKNOWN_FIELD is an unknown field"],
    [`${tenants}/input`, patch({}), " REQUIRED needs at least one of name, status, rateLimit and quotaBytes"],
    [`${tenants}/input`, patch({ status: "Active" }), "status INVALID_ENUM must be one of active, suspended"],
    [`${tenants}/input`, patch({ rateLimit: 1.5 }), "rateLimit INVALID_FORMAT must be a whole number"],
    [`${tenants}/input`, patch({ quotaBytes: -5 }), "quotaBytes OUT_OF_RANGE must be at least 0"],
    [`${tenants}?bogus=1`, {}, "bogus UNKNOWN_FIELD is an unknown field"],
    [`${tenants}?pageSize=201`, {}, "pageSize OUT_OF_RANGE must be at most 200"],
    [`${tenants}/input?confirm=other`, { method: "DELETE" }, "confirm INVALID_FORMAT must repeat the tenant's id"],
    [`${tenants}/input`, { method: "DELETE" }, "confirm REQUIRED is required"],
    [keys, key({ role: "boss" }), "role INVALID_ENUM must be one of admin, manager, sales, auditor, integrator"],
    [keys, key({ userId: "a b" }), "userId INVALID_FORMAT must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"],
    [keys, key({ permissions: Array.from({ length: 201 }, () => "crm:read") }), "permissions OUT_OF_RANGE must have at most 200 entries"],
    [keys, key({ expiresAt: "2020-01-01T00:00:00Z" }), "expiresAt OUT_OF_RANGE must be in the future"],
    [keys, key({ expiresAt: "2030-01-01" }), "expiresAt INVALID_FORMAT must be a time with its offset, such as 2026-01-31T08:00:00Z"],
    [keys, key({ tenantId: undefined }), "tenantId REQUIRED is required: the tenant of the key"],
    [`${keys}/none`, { method: "DELETE" }, "keyId INVALID_FORMAT must be a UUID such as 0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"],
  ])("%s %j", async (path, init, expected) => {
    expect(await fault(path, init)).toBe(expected);
  });

  test("and a body as a whole is the subject of its sentence", async () => {
    expect((await gateway.call<Refused>(tenants, { json: [] })).body.message).toBe("The body must be an object");
  });
});

test("administration trims values", async () => {
  expect((await gateway.call(tenants, { json: { tenantId: " blanks ", name: "\u3000Blanks " } })).body).toMatchObject({
    tenantId: "blanks",
    name: "Blanks",
  });
  expect((await gateway.call(`${tenants}/blanks`, patch({ status: " suspended" }))).body).toMatchObject({ status: "suspended" });
  const issued = await gateway.call(keys, key({ userId: " user-1 ", role: "sales ", expiresAt: " 2030-01-01T00:00:00Z " }));
  expect(issued.body).toMatchObject({ userId: "user-1", role: "sales", expiresAt: "2030-01-01T00:00:00.000Z" });
});

describe("a key with a far expiry", () => {
  test("a key that expires in the last year of the calendar can be rotated", async () => {
    const old = await issueKey(gateway, { tenantId: "input", expiresAt: "9998-12-31T23:59:59Z" });
    const rotated = await gateway.call<{ expiresAt: string }>(`${keys}/${old.keyId}/rotate`, { json: {} });
    expect([rotated.status, rotated.body.expiresAt]).toEqual([201, expect.stringMatching(/^9998-12-31T23:59:59/)]);
  });

  test("a key with an expiry beyond year 9998 is rejected", async () => {
    for (const expiresAt of ["9999-12-31T23:59:59-14:00", "9999-06-01T00:00:00Z"])
      expect(await fault(keys, key({ expiresAt }))).toBe("expiresAt OUT_OF_RANGE must be before the year 9999");
  });
});

describe("a request body", () => {
  let issued: IssuedKey;
  beforeAll(async () => {
    issued = await issueKey(gateway, { tenantId: "input" });
  });

  test("the body of a DELETE is rejected, never ignored", async () => {
    expect(await fault(`${keys}/${issued.keyId}`, { method: "DELETE", json: { graceSeconds: 60 } })).toContain("UNKNOWN_FIELD");
    expect(await fault(`${tenants}/input?confirm=input`, { method: "DELETE", json: { dryRun: true } })).toContain("UNKNOWN_FIELD");
    expect((await gateway.call(`${tenants}/input`)).status).toBe(200);
  });

  test("an empty body counts as none, also chunked", async () => {
    const { hostname, port } = new URL(gateway.url);
    const status = await new Promise<number>((resolve, reject) => {
      const headers = { authorization: `Bearer ${operatorKey}`, "transfer-encoding": "chunked" };
      const sent = request({ host: hostname, port, method: "POST", path: `${keys}/${issued.keyId}/rotate`, headers }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      sent.on("error", reject);
      sent.end();
    });
    expect(status).toBe(201);
  });
});
