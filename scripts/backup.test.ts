import { execFile } from "node:child_process";
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createZstdDecompress } from "node:zlib";
import { type Digest, readTransfer } from "@cell/postgres";
import { startTestServer, type TestServer } from "@cell/postgres/testing/server";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startCrm, type TestCrm } from "../cells/crm/src/testing/test-crm.ts";
import { issueKey, operatorKey, type TestGateway } from "../gateway/src/testing/gateway.ts";
import { ask, gatewayOf } from "./placement/testbed.ts";

// Each command is a process of its own.
vi.setConfig({ testTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), "crm-backup-"));
let server: TestServer;
let here: { cell: TestCrm; gateway: TestGateway };
/** Another PostgreSQL, another control plane: as after the loss of everything. */
let elsewhere: { cell: TestCrm; gateway: TestGateway };

beforeAll(async () => {
  server = await startTestServer(18_460);
  const cells = [await startCrm(), await startCrm({ databaseUrl: server.url })] as const;
  here = { cell: cells[0], gateway: await gatewayOf(cells[0]) };
  elsewhere = { cell: cells[1], gateway: await gatewayOf(cells[1]) };
}, 60_000);
afterAll(async () => {
  for (const { gateway, cell } of [here, elsewhere]) {
    await gateway.stop();
    await cell.stop();
  }
  await server.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

function crm(gateway: TestGateway, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const script = join(import.meta.dirname, "../gateway/src/cli/main.ts");
    const env = { PATH: "", CRM_GATEWAY: gateway.url, CRM_KEY: operatorKey, DATA_DIR: folder };
    execFile(process.execPath, [script, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

/** A tenant with some of everything that is written; its administrator's key. */
async function filledTenant(tenantId: string): Promise<string> {
  const { gateway, cell } = here;
  await gateway.call("/api/admin/tenants", { json: { tenantId, name: "A tenant with data" } });
  const { key } = await issueKey(gateway, { tenantId });
  const write = async (path: string, body: object, requestId: string) =>
    (await ask(gateway, key, tenantId, path, { body, requestId })).body;
  const { customerId } = await write("/customers", { name: "某某公司", notes: "a tab\t, a \\ and\na line", tags: ["a", "b"] }, "r-1");
  await write("/customers/import", { items: Array.from({ length: 500 }, (_, index) => ({ name: `Imported ${index}` })) }, "r-2");
  await write("/opportunities", { customerId, name: "A deal", amount: "120000.00" }, "r-3");
  const { contractId } = await write("/contracts", { customerId, name: "A contract", amount: "1000", status: "active" }, "r-4");
  await write("/payments", { contractId, amount: "10.5", paidAt: "2026-01-05T00:00:00Z" }, "r-5");
  while (!(await cell.sealer.seal(tenantId)));
  return key;
}

async function digestIn(file: string): Promise<Digest> {
  for await (const piece of readTransfer(createReadStream(file).pipe(createZstdDecompress()), 1_000_000))
    if (piece.kind === "end" && piece.end.digest) return piece.end.digest;
  throw new Error(`${file} has no end`);
}

const tables = ({ tables: all }: Digest) => Object.fromEntries(all.map(({ table, rows, checksum }) => [table, { rows, checksum }]));

test("a backup is restored into another PostgreSQL with every row, every kept answer and a trail that verifies", async () => {
  const tenantId = "saved";
  const key = await filledTenant(tenantId);
  const file = join(folder, "saved.zst");
  expect(await crm(here.gateway, "backup", tenantId, "--to", file)).toMatchObject({ code: 0, stdout: expect.stringContaining(file) });
  const restored = await crm(elsewhere.gateway, "restore", file, "--as", tenantId);
  expect(restored).toMatchObject({ code: 0, stderr: "", stdout: expect.stringContaining("are restored") });

  const copy = join(folder, "copy.zst");
  await crm(elsewhere.gateway, "backup", tenantId, "--to", copy);
  const [before, after] = [await digestIn(file), await digestIn(copy)];
  // The restored trail is sealed once more, to go on by the other server's count.
  const { audit_seals: seals, ...rows } = tables(before);
  const { audit_seals: sealsAfter, ...rowsAfter } = tables(after);
  expect(rowsAfter).toEqual(rows);
  expect(rows.customers?.rows).toBe(501);
  expect(sealsAfter?.rows).toBe((seals?.rows ?? 0) + 1);
  expect([after.sequences, after.version]).toEqual([before.sequences, before.version]);

  const { key: newKey } = await issueKey(elsewhere.gateway, { tenantId });
  const repeat = { body: { name: "某某公司", notes: "a tab\t, a \\ and\na line", tags: ["a", "b"] }, requestId: "r-1" };
  const [first, again] = [
    await ask(here.gateway, key, tenantId, "/customers", repeat),
    await ask(elsewhere.gateway, newKey, tenantId, "/customers", repeat),
  ];
  expect([again.status, again.replayed, again.text]).toEqual([201, true, first.text]);
  expect((await ask(elsewhere.gateway, newKey, tenantId, "/audit-logs/verify")).body).toMatchObject({ ok: true });
  const contract = { customerId: first.body.customerId, name: "The next one", amount: "1" };
  const numbers = await Promise.all(
    [here, elsewhere].map(({ gateway }, index) => ask(gateway, index ? newKey : key, tenantId, "/contracts", { body: contract })),
  );
  expect(numbers[0]?.body.number).toBe(numbers[1]?.body.number);
});

test("a tenant that was dropped comes back where it was; one that is there is not overwritten", async () => {
  const tenantId = "dropped";
  await filledTenant(tenantId);
  const file = join(folder, "dropped.zst");
  await crm(here.gateway, "backup", tenantId, "--to", file);
  expect(await crm(here.gateway, "restore", file)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("This partition serves dropped"),
  });
  expect((await crm(here.gateway, "tenant", "drop", tenantId, "--yes")).code).toBe(0);
  expect(await crm(here.gateway, "restore", file)).toMatchObject({ code: 0, stderr: "" });
  const { key } = await issueKey(here.gateway, { tenantId });
  expect((await ask(here.gateway, key, tenantId, "/customers?pageSize=1&total=exact")).body.total).toBe(501);
});

test("a partition's tenants are backed up into a folder, each a file of its own", async () => {
  const to = join(folder, "crm-1");
  expect(await crm(here.gateway, "backup", "--partition", "crm-1", "--to", to)).toMatchObject({ code: 0 });
  for (const tenantId of ["saved", "dropped"])
    expect((await digestIn(join(to, `${tenantId}.tenant.zst`))).tables.length).toBeGreaterThan(10);
});

test("half a backup, a changed one and another tenant's are refused, and nothing is served of them", async () => {
  const file = join(folder, "saved.zst");
  const whole = readFileSync(file);
  const broken = join(folder, "broken.zst");
  writeFileSync(broken, whole.subarray(0, whole.length - 200));
  await crm(elsewhere.gateway, "tenant", "drop", "saved", "--yes");
  const half = await crm(elsewhere.gateway, "restore", broken);
  expect([half.code, half.stderr]).toEqual([2, expect.stringMatching(/broken\.zst: /)]);
  expect((await crm(elsewhere.gateway, "restore", file, "--as", "another")).stderr).toContain("cannot be restored as another");
  const { key } = await issueKey(elsewhere.gateway, { tenantId: "saved" });
  expect((await ask(elsewhere.gateway, key, "saved", "/customers")).status).toBe(503);
  writeFileSync(broken, "no backup at all");
  expect((await crm(elsewhere.gateway, "restore", broken)).code).toBe(2);
});
