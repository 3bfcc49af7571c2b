import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reply, startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, issueKey, operatorKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { audience, startIdentityProvider } from "../testing/identity-provider.ts";

const folder = mkdtempSync(join(tmpdir(), "crm-cli-"));
let cell: TestCell;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`);
  ({ key } = await createTenant(gateway, "tenant-001"));
  const demo = { gateway: gateway.url, operator: { key: operatorKey }, tenants: { "tenant-001": { admin: { userId: "user-001", key } } } };
  writeFileSync(join(folder, "demo.json"), JSON.stringify(demo));
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the command as a user would, beside a system started by `npm start`. */
function crm(args: string[], env: Record<string, string> = {}): Promise<Result> {
  return new Promise((resolve) => {
    const script = join(import.meta.dirname, "main.ts");
    execFile(process.execPath, [script, ...args], { env: { PATH: "", DATA_DIR: folder, ...env } }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

test("tenants are created, listed, suspended, resumed and dropped", async () => {
  const created = await crm(["tenant", "create", "cli", "--name", "From the CLI"]);
  expect(created).toMatchObject({ code: 0, stdout: expect.stringContaining("crm-1") });
  expect((await crm(["tenant", "list"])).stdout).toMatch(/^cli +From the CLI +active +crm-1/m);
  expect((await crm(["tenant", "suspend", "cli"])).code).toBe(0);
  expect((await crm(["tenant", "list"])).stdout).toMatch(/^cli .* suspended /m);
  expect((await crm(["tenant", "resume", "cli"])).code).toBe(0);
  expect(await crm(["tenant", "drop", "cli"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
  expect((await crm(["tenant", "drop", "cli", "--yes"])).code).toBe(0);
  expect(cell.tenants).not.toContain("cli");
});

test("keys are issued, listed, rotated and revoked; the key alone is on stdout", async () => {
  const issued = await crm([
    "key",
    "issue",
    "--tenant",
    "tenant-001",
    "--user",
    "u-9",
    "--role",
    "sales",
    "--permissions",
    "crm:read,report:read",
  ]);
  const secret = issued.stdout.trim();
  expect(secret).toMatch(/^crm_live_[\w-]{32}$/);
  const keyId = /Key (\S+)/.exec(issued.stderr)?.[1] ?? "";
  expect((await crm(["key", "list", "--tenant", "tenant-001"])).stdout).toContain(keyId);
  const rotated = await crm(["key", "rotate", keyId, "--grace", "60"]);
  expect(rotated.stdout.trim()).toMatch(/^crm_live_/);
  expect((await crm(["key", "revoke", keyId])).code).toBe(0);
  expect((await gateway.call("/api/v1/crm/x", { key: secret, tenantId: "tenant-001" })).status).toBe(401);
  expect((await gateway.call("/api/v1/crm/x", { key: rotated.stdout.trim(), tenantId: "tenant-001" })).status).toBe(200);
});

test("an auditor's own key lists the keys of its tenant", async () => {
  const { key: auditor, keyId } = await issueKey(gateway, { tenantId: "tenant-001", userId: "auditor-1", role: "auditor" });
  await createTenant(gateway, "tenant-009", { userId: "elsewhere" });
  const listed = await crm(["key", "list"], { CRM_KEY: auditor });
  expect(listed).toMatchObject({ code: 0, stdout: expect.stringMatching(new RegExp(`^${keyId} +tenant-001 +auditor-1 +auditor`, "m")) });
  expect(listed.stdout).not.toContain("elsewhere");
  expect(listed.stdout).not.toContain(auditor);
});

test("an import streams the file, follows the job, reports and saves the failed rows", async () => {
  const csv = `name\n${"Example Ltd\n".repeat(10_000)}`;
  const received: Buffer[] = [];
  const report = { importId: "imp-1", total: 10_000, created: 9_000, updated: 500, skipped: 498, failed: 2, errorsTruncated: false };
  let looks = 0;
  cell.on("/customers/import", async (incoming, outgoing) => {
    for await (const chunk of incoming) received.push(chunk);
    reply(outgoing, 202, { importId: "imp-1", status: "queued" });
  });
  cell.on("/imports/imp-1", (_incoming, outgoing) => {
    looks++;
    const errors = [{ row: 7, line: 8, field: "name", code: "REQUIRED", message: "name is missing", duplicateOf: null }];
    const state = looks < 3 ? { status: "running", total: 10_000, done: looks * 4_000 } : { ...report, status: "completed", errors };
    reply(outgoing, 200, { importId: "imp-1", ...state, errorFileUrl: "/imports/imp-1/errors.csv" });
  });
  cell.on("/imports/imp-1/errors.csv", (_incoming, outgoing) => outgoing.end("name,error\r\n,REQUIRED\r\n"));
  const file = join(folder, "customers.csv");
  const errors = join(folder, "errors.csv");
  writeFileSync(file, csv);
  const args = ["import", "customers", file, "--tenant", "tenant-001", "--mode", "upsert", "--match-by", "name", "--errors", errors];
  const { code, stdout } = await crm(args);
  expect(Buffer.concat(received).toString()).toBe(csv);
  const sent = cell.requests.find(({ url }) => url.startsWith("/customers/import"));
  expect(sent).toMatchObject({ url: "/customers/import?async=true&mode=upsert&matchBy=name", caller: { requestIdIsKey: true } });
  expect(sent?.headers["content-type"]).toBe("text/csv");
  for (const line of [/^created +9000$/m, /^updated +500$/m, /^skipped +498$/m, /^failed +2$/m, /^total +10000$/m])
    expect(stdout).toMatch(line);
  expect(stdout).toMatch(/^7 +name +REQUIRED/m);
  expect(readFileSync(errors, "utf8")).toContain("REQUIRED");
  expect(code).toBe(1);
});

test("a refused call is a sentence with the request's id and exit code 2, never a stack", async () => {
  cell.on("/customers/import", (incoming, outgoing) => {
    incoming.resume();
    reply(outgoing, 400, { code: "BAD_REQUEST", message: "mode: create, upsert or update", requestId: incoming.headers["x-request-id"] });
  });
  const file = join(folder, "small.csv");
  writeFileSync(file, "name\nA\n");
  const refused = await crm(["import", "customers", file, "--tenant", "tenant-001", "--mode", "wrong"]);
  expect(refused).toMatchObject({ code: 2, stdout: "" });
  expect(refused.stderr).toMatch(/^mode: create, upsert or update \(request crm-import-[\w-]+\)\n$/);
  const away = await crm(["tenant", "list", "--gateway", "http://127.0.0.1:1", "--key", "x"]);
  expect(away).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^http:\/\/127\.0\.0\.1:1 cannot be reached: nothing listens there\n$/),
  });
});

test("the keys of the system started here are not sent to another one", async () => {
  const { code, stderr } = await crm(["tenant", "list", "--gateway", "http://127.0.0.1:1"]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("No key")]);
});

test("an export goes to stdout or to a file, whole or not at all", async () => {
  cell.on("/customers/export", (incoming, outgoing) => {
    if (incoming.url?.includes("keyword=broken")) {
      outgoing.writeHead(200, { "content-length": "1000" });
      outgoing.write("half", () => outgoing.destroy());
    } else {
      outgoing.writeHead(200, { "content-type": "text/csv" });
      outgoing.end("name\r\nA\r\n");
    }
  });
  expect((await crm(["export", "customers", "--tenant", "tenant-001", "--filter", "status[eq]:active"])).stdout).toBe("name\r\nA\r\n");
  expect(cell.requests.at(-1)?.url).toBe("/customers/export?format=csv&filter=status%5Beq%5D%3Aactive");
  const out = join(folder, "out.csv");
  expect((await crm(["export", "customers", "--tenant", "tenant-001", "--out", out])).code).toBe(0);
  expect(readFileSync(out, "utf8")).toBe("name\r\nA\r\n");
  const broken = join(folder, "broken.csv");
  expect((await crm(["export", "customers", "--tenant", "tenant-001", "--out", broken, "--keyword", "broken"])).code).toBe(2);
  expect(() => readFileSync(broken)).toThrow(/ENOENT/);
});

test("doctor says in sentences what is well and what is not", async () => {
  const well = await crm(["doctor"]);
  expect(well.code).toBe(0);
  expect(well.stdout).toContain("crm-1 at");
  expect(well.stdout).not.toContain("FAIL");
  const badKey = await crm(["doctor", "--key", "crm_live_wrong"]);
  expect(badKey).toMatchObject({ code: 1, stdout: expect.stringContaining("FAIL  The key does not work") });
  const away = await crm(["doctor", "--gateway", "http://127.0.0.1:1"]);
  expect(away).toMatchObject({ code: 1, stdout: expect.stringContaining("cannot be reached") });
});

test("doctor fails for what a partition cannot do although it serves", async () => {
  const problem = "The audit trails of 2 tenants cannot be sealed: seal 7 is not signed by a known key.";
  cell.ready = { status: 200, body: { status: "ready", degraded: true, problems: [problem] } };
  const { code, stdout } = await crm(["doctor"]);
  expect(code).toBe(1);
  expect(stdout).toContain(`FAIL  crm-1: ${problem}`);
  cell.ready = { status: 200, body: { status: "ready" } };
  expect((await crm(["doctor"])).code).toBe(0);
});

test("doctor says how many doors a database leaves open, which is no failure", async () => {
  cell.ready = { status: 200, body: { status: "ready", checks: { openDoors: 87 } } };
  const { code, stdout } = await crm(["doctor"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^open {2}crm-1: .* 87 functions and views .*bootstrap\.sql/m);
  cell.ready = { status: 200, body: { status: "ready" } };
  expect((await crm(["doctor"])).stdout).not.toContain("bootstrap");
});

test("doctor says whether access tokens are taken, and whether their issuer can be reached", async () => {
  expect((await crm(["doctor"])).stdout).toContain("API keys alone");
  const provider = await startIdentityProvider();
  const env = { OIDC_ISSUER: provider.issuer, OIDC_AUDIENCE: audience, OIDC_ALLOW_LOOPBACK: "1", OIDC_KEYS_REFRESH_MS: "50" };
  const other = await startTestGateway(await createDatabase(), `crm=${cell.url}`, env);
  const consult = () => crm(["doctor", "--gateway", other.url, "--key", operatorKey]);
  try {
    expect(await consult()).toMatchObject({ code: 0, stdout: expect.stringContaining("identity provider, which can be reached") });
    provider.mode = "away";
    await expect
      .poll(consult, { timeout: 20_000 })
      .toMatchObject({ code: 1, stdout: expect.stringContaining("the keys that it had last are in use") });
  } finally {
    await other.stop();
    await provider.close();
  }
});
