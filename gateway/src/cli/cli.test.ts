import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPool } from "@cell/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reply, startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, issueKey, operatorKey, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { audience, startIdentityProvider } from "../testing/identity-provider.ts";

const folder = mkdtempSync(join(tmpdir(), "crm-cli-"));
let cell: TestCell;
let database: string;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  database = await createDatabase();
  gateway = await startTestGateway(database, `crm=${cell.url}`);
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

test("crm sets, lists and removes a tenant's storage quota", async () => {
  expect((await crm(["tenant", "quota", "tenant-001", "5000000"])).code).toBe(0);
  expect((await crm(["tenant", "list"])).stdout).toMatch(/^tenant-001 .* 5000000$/m);
  expect((await crm(["tenant", "quota", "tenant-001", "5 GB"])).code).toBe(2);
  expect((await crm(["tenant", "quota", "tenant-001", "none"])).stdout).toContain("no quota");
});

test("crm creates, lists, suspends, resumes and drops tenants", async () => {
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

test("crm issues, lists, rotates and revokes keys, and prints only the key to stdout", async () => {
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

test("crm import streams the file, follows the job, reports, and saves the failed rows", async () => {
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

test("a failed call gives a sentence with the request's id and exit code 2, never a stack trace", async () => {
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

test("crm does not send the keys of the local system to another one", async () => {
  const { code, stderr } = await crm(["tenant", "list", "--gateway", "http://127.0.0.1:1"]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("No key")]);
});

test("crm export writes to stdout or to a file, completely or not at all", async () => {
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

test("crm doctor reports in sentences what works and what does not", async () => {
  const well = await crm(["doctor"]);
  expect(well.code).toBe(0);
  expect(well.stdout).toContain("crm-1 at");
  expect(well.stdout).not.toContain("FAIL");
  const badKey = await crm(["doctor", "--key", "crm_live_wrong"]);
  expect(badKey).toMatchObject({ code: 1, stdout: expect.stringContaining("FAIL  The key does not work") });
  const away = await crm(["doctor", "--gateway", "http://127.0.0.1:1"]);
  expect(away).toMatchObject({ code: 1, stdout: expect.stringContaining("cannot be reached") });
});

test("crm doctor fails for problems of a partition that serves", async () => {
  const problem = "The audit trails of 2 tenants cannot be sealed: seal 7 is not signed by a known key.";
  cell.ready = { status: 200, body: { status: "ready", degraded: true, problems: [problem] } };
  const { code, stdout } = await crm(["doctor"]);
  expect(code).toBe(1);
  expect(stdout).toContain(`FAIL  crm-1: ${problem}`);
  cell.ready = { status: 200, body: { status: "ready" } };
  expect((await crm(["doctor"])).code).toBe(0);
});

test("crm doctor fails for a partition that is alive and not ready", async () => {
  cell.ready = { status: 503, body: { code: "UNAVAILABLE", message: "The database is away", details: { checks: { database: "away" } } } };
  const { code, stdout } = await crm(["doctor"]);
  cell.ready = { status: 200, body: { status: "ready" } };
  expect([code, stdout]).toEqual([1, expect.stringMatching(/^FAIL +crm-1: The database is away$/m)]);
});

test("crm backup fails for a partition without tenants, such as one that does not exist", async () => {
  const { code, stdout, stderr } = await crm(["backup", "--partition", "crm-9", "--to", folder]);
  expect([code, stdout, stderr.trim()]).toEqual([2, "", "No tenant is on the partition crm-9: nothing was backed up"]);
});

test("crm's lists of keys and moves, and forgetting copies, fail for an unknown tenant", async () => {
  for (const args of [
    ["key", "list", "--tenant", "tenant-01"],
    ["tenant", "moves", "tenant-01"],
    ["tenant", "forget", "tenant-01"],
  ])
    expect(await crm(args)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("Tenant not found") });
  expect((await crm(["tenant", "forget", "tenant-001"])).code).toBe(0);
});

test("crm's list of keys shows each key's permissions, which may differ from its role's", async () => {
  const permissions = ["crm:read", "tenant:admin"];
  const { keyId } = await issueKey(gateway, { tenantId: "tenant-001", userId: "odd", role: "sales", permissions });
  expect((await crm(["key", "list", "--tenant", "tenant-001"])).stdout).toMatch(
    new RegExp(`^${keyId} .* sales .* crm:read,tenant:admin$`, "m"),
  );
});

test("a move whose audit trail does not verify afterwards has exit code 1, and crm doctor fails until the next move", async () => {
  await createTenant(gateway, "tenant-moved");
  const failure = "The audit trail on the new partition does not verify";
  const move = { moveId: 1, tenantId: "tenant-moved", cell: "crm", from: "crm-1", to: "crm-2", state: "done", step: "done", rows: 5 };
  const answering = createServer((_incoming, outgoing) =>
    reply(outgoing, 202, { ...move, pauseMs: 1, startedAt: "2026-01-31T08:00:00Z", finishedAt: null, failure, leftover: "crm-1" }),
  );
  await new Promise<void>((resolve) => answering.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(answering.address() as AddressInfo).port}`;
  const moved = await crm(["tenant", "move", "tenant-moved", "--to", "crm-2", "--gateway", url, "--key", operatorKey]);
  answering.close();
  expect([moved.code, moved.stderr, moved.stdout]).toEqual([1, "", expect.stringContaining(failure)]);
  const pool = openPool({ url: database, applicationName: "test", max: 1 });
  const insert = (failed: string | null) =>
    pool.query(
      `insert into gateway.moves (cell, tenant_id, from_partition, to_partition, state, step, runner, finished_at, failure)
        values ('crm', 'tenant-moved', 'crm-1', 'crm-1', 'done', 'done', gen_random_uuid(), now(), $1)`,
      [failed],
    );
  await insert(failure);
  const failing = await crm(["doctor"]);
  await insert(null);
  await pool.end();
  expect([failing.code, failing.stdout]).toEqual([1, expect.stringMatching(/^FAIL +tenant-moved was moved to crm-1: The audit trail/m)]);
  expect((await crm(["doctor"])).code).toBe(0);
  expect((await crm(["tenant", "drop", "tenant-moved", "--yes"])).code).toBe(0);
});

test("crm doctor reports unrevoked database functions without failing", async () => {
  cell.ready = { status: 200, body: { status: "ready", checks: { openDoors: 87 } } };
  const { code, stdout } = await crm(["doctor"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^open {2}crm-1: .* 87 functions and views .*bootstrap\.sql/m);
  cell.ready = { status: 200, body: { status: "ready" } };
  expect((await crm(["doctor"])).stdout).not.toContain("bootstrap");
});

test("crm doctor reports whether access tokens are accepted, and whether their issuer is reachable", async () => {
  expect((await crm(["doctor"])).stdout).toContain("only accepts API keys");
  const provider = await startIdentityProvider();
  const env = { OIDC_ISSUER: provider.issuer, OIDC_AUDIENCE: audience, OIDC_ALLOW_LOOPBACK: "1", OIDC_KEYS_REFRESH_MS: "50" };
  const other = await startTestGateway(await createDatabase(), `crm=${cell.url}`, env);
  const consult = () => crm(["doctor", "--gateway", other.url, "--key", operatorKey]);
  try {
    expect(await consult()).toMatchObject({ code: 0, stdout: expect.stringContaining("identity provider, which is reachable") });
    provider.mode = "away";
    await expect
      .poll(consult, { timeout: 20_000 })
      .toMatchObject({ code: 1, stdout: expect.stringContaining("its last known keys are in use") });
  } finally {
    await other.stop();
    await provider.close();
  }
});

const script = join(import.meta.dirname, "main.ts");
const environment = { PATH: "", DATA_DIR: folder };

test("crm's exit codes: 2 for bad arguments, 0 for help, 1 only for failed rows", { timeout: 120_000 }, async () => {
  const bad = [
    [],
    ["nonsense"],
    ["tenant", "create", "x"],
    ["tenant", "list", "--nonsense"],
    ["tenant", "drop", "x"],
    ["key", "issue", "--user", "u"],
    ["import", "customers", "a.csv"],
    ["import", "customers", join(folder, "absent.csv"), "--tenant", "tenant-001"],
    ["import", "customers", "a.txt", "--tenant", "tenant-001"],
    ["import", "watch", "x"],
    ["export", "customers"],
    ["restore", join(folder, "absent.zst")],
    ["backup"],
  ];
  const codes = (commands: string[][]) => Promise.all(commands.map(async (args) => [args, (await crm(args)).code]));
  expect(await codes(bad)).toEqual(bad.map((args) => [args, 2]));
  const broken = join(folder, "broken.json");
  writeFileSync(broken, "{");
  expect(await crm(["import", "customers", broken, "--tenant", "tenant-001"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("broken.json is no JSON"),
  });
  const help = [["--help"], ["tenant", "--help"], ["import", "customers", "--help"], ["help"]];
  expect(await codes(help)).toEqual(help.map((args) => [args, 0]));
});

test("with --json each command prints one JSON document, and what went wrong as one on stderr", { timeout: 120_000 }, async () => {
  const json = async (args: string[]) => {
    const { code, stdout, stderr } = await crm([...args, "--json"]);
    return { code, data: stdout === "" ? undefined : JSON.parse(stdout), stderr };
  };
  expect(await json(["tenant", "create", "machine", "--name", "M"])).toMatchObject({ code: 0, data: { tenantId: "machine" } });
  expect((await json(["tenant", "list"])).data).toEqual(expect.arrayContaining([expect.objectContaining({ tenantId: "machine" })]));
  expect((await json(["tenant", "suspend", "machine"])).data).toMatchObject({ tenantId: "machine", status: "suspended" });
  expect((await json(["tenant", "resume", "machine"])).data).toMatchObject({ status: "active" });
  expect((await json(["tenant", "moves"])).data).toEqual([]);
  const issued = await json(["key", "issue", "--tenant", "machine", "--user", "u", "--role", "sales"]);
  expect(issued.data).toMatchObject({ key: expect.stringMatching(/^crm_/), userId: "u" });
  const rotated = await json(["key", "rotate", issued.data.keyId]);
  expect(rotated.data.key).toMatch(/^crm_/);
  expect((await json(["key", "list", "--tenant", "machine"])).data).toHaveLength(2);
  expect(await json(["key", "revoke", rotated.data.keyId])).toMatchObject({ code: 0, data: expect.any(Object) });
  expect((await json(["tenant", "drop", "machine", "--yes"])).data).toMatchObject({ tenantId: "machine" });
  expect(await json(["doctor"])).toMatchObject({ code: 0, data: { isWell: true, findings: expect.any(Array) } });
  expect((await json(["doctor", "--gateway", "http://127.0.0.1:1"])).code).toBe(1);
  for (const args of [
    ["tenant", "suspend", "nobody"],
    ["tenant", "drop", "x"],
    ["tenant", "move", "nobody", "--to", "crm-2"],
  ]) {
    const refused = await json(args);
    expect([refused.code, refused.data]).toEqual([2, undefined]);
    expect(JSON.parse(refused.stderr)).toMatchObject({ message: expect.any(String) });
  }
});

test("with --json an import prints its report, its progress aside, and an export an array of all pages", { timeout: 120_000 }, async () => {
  const report = {
    importId: "imp-9",
    total: 3,
    done: 3,
    created: 2,
    updated: 0,
    skipped: 0,
    failed: 1,
    errors: [],
    errorsTruncated: false,
  };
  let looks = 0;
  cell.on("/customers/import", (incoming, outgoing) => {
    incoming.resume();
    reply(outgoing, 202, { importId: "imp-9", status: "queued" });
  });
  cell.on("/imports/imp-9", (_incoming, outgoing) => {
    reply(outgoing, 200, { ...report, status: ++looks < 2 ? "running" : "completed", errorFileUrl: null });
  });
  const file = join(folder, "machine.csv");
  writeFileSync(file, "name\nA\n");
  const imported = await crm(["import", "customers", file, "--tenant", "tenant-001", "--json"]);
  expect([imported.code, JSON.parse(imported.stdout)]).toMatchObject([1, report]);
  const watched = await crm(["import", "watch", "imp-9", "--tenant", "tenant-001", "--json"]);
  expect([watched.code, JSON.parse(watched.stdout)]).toMatchObject([1, report]);
  cell.on("/customers/export", (incoming, outgoing) => {
    const isFirst = incoming.url?.includes("cursor=&") || incoming.url?.endsWith("cursor=");
    reply(
      outgoing,
      200,
      isFirst ? { data: [{ name: "A" }, { name: "B" }], nextCursor: "next" } : { data: [{ name: "C" }], nextCursor: null },
    );
  });
  const exported = await crm(["export", "customers", "--tenant", "tenant-001", "--json"]);
  expect([exported.code, JSON.parse(exported.stdout)]).toEqual([0, [{ name: "A" }, { name: "B" }, { name: "C" }]]);
  const out = join(folder, "machine.json");
  const saved = await crm(["export", "customers", "--tenant", "tenant-001", "--json", "--out", out]);
  expect([JSON.parse(saved.stdout), JSON.parse(readFileSync(out, "utf8"))]).toMatchObject([{ file: out }, [{}, {}, {}]]);
});

test("an import left by Ctrl-C prints the full command to follow it again", async () => {
  cell.on("/imports/imp-8", (_incoming, outgoing) => {
    reply(outgoing, 200, {
      importId: "imp-8",
      status: "running",
      total: 10,
      done: 1,
      created: 1,
      updated: 0,
      skipped: 0,
      failed: 0,
      errors: [],
    });
  });
  for (const given of [[], ["--gateway", gateway.url, "--key", key]]) {
    const child = spawn(process.execPath, [script, "import", "watch", "imp-8", "--tenant", "tenant-001", ...given], { env: environment });
    let said = "";
    child.stderr.on("data", (chunk) => {
      if (said === "") child.kill("SIGINT");
      said += chunk;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    const more = given.length === 0 ? "" : ` --gateway ${gateway.url}`;
    expect(said).toContain(`crm import watch imp-8 --tenant tenant-001${more}\n`);
    expect([code, said.includes(key)]).toEqual([130, false]);
  }
});

test("a closed output pipe ends a command quietly", async () => {
  cell.on("/customers/export", (_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/csv" });
    const more = () => {
      if (!outgoing.destroyed && outgoing.write("name\r\n".repeat(10_000))) setTimeout(more, 5);
      else outgoing.once("drain", more);
    };
    more();
  });
  for (const args of [
    ["export", "customers", "--tenant", "tenant-001"],
    ["key", "list"],
    ["tenant", "list", "--json"],
  ]) {
    const child = spawn(process.execPath, [script, ...args], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    // Like `head`: at the first bytes, or before any.
    if (args[0] === "export") child.stdout.once("data", () => child.stdout.destroy());
    else child.stdout.destroy();
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect([args, code, said]).toEqual([args, 0, ""]);
  }
});
