import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "./testing/cell.ts";
import { createDatabase, metricsToken, startTestGateway } from "./testing/gateway.ts";

let cell: TestCell;
let database: string;

beforeAll(async () => {
  cell = await startTestCell();
  database = await createDatabase();
});

afterAll(() => cell.close());

/** Runs a gateway with these settings while `look` checks it. */
async function withGateway(env: Record<string, string>, look: (url: string, metricsUrl: string) => Promise<void>): Promise<void> {
  const gateway = await startTestGateway(database, `crm=${cell.url}`, env);
  try {
    await look(gateway.url, gateway.metricsUrl);
  } finally {
    await gateway.stop();
  }
}

const bearer = { authorization: `Bearer ${metricsToken}` };

test("metrics on the main port only accept their own token", async () => {
  await withGateway({}, async (url, metricsUrl) => {
    expect(metricsUrl).toBe(`${url}/metrics`);
    const seen = await fetch(metricsUrl, { headers: bearer });
    expect([seen.status, seen.headers.get("content-type"), seen.headers.get("cache-control")]).toEqual([
      200,
      expect.stringContaining("text/plain"),
      "no-store",
    ]);
    expect(await seen.text()).toContain("http_requests_total");
    for (const authorization of ["", "Bearer another-token-of-the-same-len", `Basic ${metricsToken}`, metricsToken]) {
      const refused = await fetch(metricsUrl, { headers: { authorization } });
      expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([401, "UNAUTHORIZED"]);
    }
  });
});

test("a separate metrics port serves only metrics, and the main port has none", async () => {
  await withGateway({ METRICS_PORT: "0", METRICS_TOKEN: "" }, async (url, metricsUrl) => {
    const { origin } = new URL(metricsUrl);
    expect(origin).not.toBe(url);
    const seen = await fetch(metricsUrl);
    expect([seen.status, seen.headers.get("content-type")]).toEqual([200, expect.stringContaining("text/plain")]);
    expect(await seen.text()).toContain("gateway_circuit_open");
    for (const headers of [{}, bearer]) expect((await fetch(`${url}/metrics`, { headers })).status).toBe(404);
    for (const path of ["/health", "/api/admin/tenants", "/metricsx", "/"]) {
      const refused = await fetch(origin + path);
      expect([refused.status, await refused.json()]).toEqual([404, expect.objectContaining({ code: "NOT_FOUND" })]);
    }
    expect((await fetch(metricsUrl, { method: "POST" })).status).toBe(405);
  });
});

test("a separate metrics port needs the token if one is set", async () => {
  await withGateway({ METRICS_PORT: "0" }, async (_url, metricsUrl) => {
    expect((await fetch(metricsUrl)).status).toBe(401);
    expect((await fetch(metricsUrl, { headers: bearer })).status).toBe(200);
  });
});

test("a taken metrics port keeps the gateway from starting, with the setting's name", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  await expect(startTestGateway(database, `crm=${cell.url}`, { METRICS_PORT: String(port) })).rejects.toThrow(/METRICS_PORT.*EADDRINUSE/);
  taken.close();
});
