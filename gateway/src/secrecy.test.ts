import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { assertionKeys, startTestCell, type TestCell, testDeclaration } from "./testing/cell.ts";
import { createDatabase, createTenant, type IssuedKey, metricsToken, operatorKey, startTestGateway } from "./testing/gateway.ts";
import { audience, startIdentityProvider, type TestIdentityProvider } from "./testing/identity-provider.ts";

let cell: TestCell;
let provider: TestIdentityProvider;
let databaseUrl: string;
let process: ChildProcess;
let url: string;
let logged = "";

beforeAll(async () => {
  cell = await startTestCell();
  const events = { method: "GET", path: "/broken-events", policy: { bulkhead: "events" } } as const;
  cell.declaration = { ...testDeclaration, routes: [...testDeclaration.routes, events] };
  provider = await startIdentityProvider();
  databaseUrl = await createDatabase();
  process = spawn(globalThis.process.execPath, ["src/main.ts"], {
    cwd: `${import.meta.dirname}/..`,
    env: {
      PORT: "0",
      DATABASE_URL: databaseUrl,
      ASSERTION_KEYS: assertionKeys,
      OPERATOR_KEY: operatorKey,
      METRICS_TOKEN: metricsToken,
      CELLS: `crm=${cell.url}`,
      OIDC_ISSUER: provider.issuer,
      OIDC_AUDIENCE: audience,
      OIDC_ALLOW_LOOPBACK: "1",
      FAILED_ATTEMPTS_BURST: "12",
      LOG_LEVEL: "trace",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [process.stdout, process.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (logged += text));
  url = await new Promise((resolve, reject) => {
    process.once("exit", () => reject(new Error(`the gateway has ended: ${logged}`)));
    process.stdout?.on("data", () => {
      const [, listening] = /"url":"(http:[^"]+)"/.exec(logged) ?? [];
      if (listening) resolve(listening);
    });
  });
});

afterAll(async () => {
  if (process.exitCode === null) {
    process.kill("SIGTERM");
    await once(process, "exit");
  }
  await provider.close();
  await cell.close();
});

/** Everything that identifies a token: itself, and its parts that are not public. */
function traces(token: string): string[] {
  const parts = token.split(".");
  return parts.length === 3 ? parts.slice(1) : [token, token.slice(-16)];
}

test("no token, accepted, rejected or failing, appears in the log, the metrics or a response", async () => {
  const { key, revoked } = await makeKeys();
  const claims = { email: "ada@personal.test" };
  const good = [key, operatorKey, await provider.token({ claims })];
  const bad = [
    revoked,
    "crm_live_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "no-form-of-ours-but-secret-all-the-same",
    await provider.token({ claims: { ...claims, exp: 1 } }),
    await provider.token({ claims: { ...claims, aud: "https://other.test" } }),
    await provider.token({ claims: { ...claims, sub: "ada lovelace" } }),
    await provider.token({ header: { kid: "nobody" } }),
    await provider.token({ claims: { ...claims, tenant: "tenant-nobody" } }),
  ];
  const texts: string[] = [];
  const statuses = new Set<number>();
  cell.on("/broken", (_incoming, outgoing) => outgoing.destroy());
  cell.on("/broken-events", (_incoming, outgoing) => outgoing.destroy());
  for (const token of [...good, ...bad, ...bad, "crm_live_ZzYyXxWwVvUuTtSsRrQqPpOoNnMmLlKk"]) {
    for (const path of ["/api/v1/crm/customers", "/api/v1/crm/broken", "/api/admin/keys"]) {
      const response = await fetch(url + path, { headers: { authorization: `Bearer ${token}`, "x-tenant-id": "tenant-a" } });
      statuses.add(response.status);
      texts.push(await response.text(), JSON.stringify([...response.headers]));
    }
  }
  for (const token of [...good, ...bad]) {
    // A token in the query is removed before anything else sees it.
    const response = await fetch(`${url}/api/v1/crm/broken-events?a=1&token=${encodeURIComponent(token)}`);
    texts.push(await response.text().catch(() => ""), JSON.stringify([...response.headers]));
  }
  for (const { url: seen } of cell.requests) texts.push(seen);
  expect([...statuses].sort()).toEqual([200, 401, 403, 429, 503]);
  const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${metricsToken}` } });
  expect(metrics.status).toBe(200);
  texts.push(await metrics.text(), await (await fetch(`${url}/ready`)).text());
  for (const { headers } of cell.requests) texts.push(JSON.stringify(headers));
  // Log lines are in order: earlier ones have been written too.
  await expect.poll(() => logged).toContain("request failed");
  const secrets = [...good, ...bad, metricsToken].flatMap(traces);
  for (const secret of [...secrets, "ada@personal.test", "ada lovelace"]) {
    expect(logged.includes(secret), `the log holds ${secret}`).toBe(false);
    expect(
      texts.some((text) => text.includes(secret)),
      `a response holds ${secret}`,
    ).toBe(false);
  }
});

async function makeKeys(): Promise<{ key: string; revoked: string }> {
  const gateway = await startTestGateway(databaseUrl, `crm=${cell.url}`);
  try {
    const [{ key }, revoked] = [await createTenant(gateway, "tenant-a"), await createTenant(gateway, "tenant-a")] as [IssuedKey, IssuedKey];
    await gateway.call(`/api/admin/keys/${revoked.keyId}`, { method: "DELETE" });
    return { key, revoked: revoked.key };
  } finally {
    await gateway.stop();
  }
}
