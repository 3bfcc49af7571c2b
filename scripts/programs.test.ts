import { spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { startEmbedded } from "@cell/postgres/embedded";
import { openLog } from "@cell/postgres/embedded/log-file";
import { createManagedDatabase } from "@cell/postgres/testing/server";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { fileOf, type Program, programs } from "./build.ts";
import { runStep } from "./start/service.ts";

vi.setConfig({ testTimeout: 60_000 });

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "cell-crm-programs-"));
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = `k1:${randomBytes(32).toString("base64url")}`;
const settings = {
  PORT: "0",
  ASSERTION_KEYS: key,
  CELLS: "crm=http://127.0.0.1:1",
  TENANT_LOGIN_SECRET: "x".repeat(32),
  SEAL_KEY: generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  WEBHOOK_KEYS: key,
};
const everyProgram = Object.keys(programs) as Program[];
const servers = ["gateway", "crm"] as const;

interface Outcome {
  code: number | null;
  lines: { level: number; name: string; msg: string; err?: { stack: string } }[];
}

/** Runs a program to its end. Rejects when it has written anything but JSON lines. */
async function run(program: Program, env: Record<string, string>): Promise<Outcome> {
  const child = spawn(process.execPath, [fileOf(program)], { cwd: root, env: { PATH: process.env.PATH, ...env } });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), child.exitCode ?? once(child, "exit")]);
  const lines = (out + err).trimEnd().split("\n");
  return { code: child.exitCode, lines: lines.map((line) => JSON.parse(line)) };
}

/** Has Node run this before the program. */
const preloaded = (code: string) => `--import=data:text/javascript,${encodeURIComponent(code)}`;

describe("a program's output is JSON lines alone", () => {
  test.each(everyProgram)("%s names the settings that are missing, without a stack", async (program) => {
    const { code, lines } = await run(program, {});
    expect(code).toBe(2);
    expect(lines).toEqual([
      expect.objectContaining({ level: 60, msg: expect.stringMatching(/^[A-Z_]{8,} is not set(; [A-Z_]+ is not set)*$/) }),
    ]);
    expect(lines[0]).not.toHaveProperty("err");
  });

  test.each(servers)("%s writes Node's warnings and the error that ends it", async (program) => {
    const provoke = `setTimeout(() => process.emitWarning("provoked", "DeprecationWarning"), 1500).unref();
      setTimeout(() => { throw new Error("nobody catches this") }, 2000);`;
    const { code, lines } = await run(program, {
      ...settings,
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/away",
      NODE_OPTIONS: preloaded(provoke),
    });
    expect(code).toBe(1);
    expect(lines).toContainEqual(expect.objectContaining({ level: 40, name: program, msg: "provoked" }));
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 60, name: program, err: expect.objectContaining({ message: "nobody catches this" }) }),
    );
  });

  test.each(servers)("%s writes a rejection that nobody hears", async (program) => {
    const { code, lines } = await run(program, {
      ...settings,
      DATABASE_URL: "postgres://nobody@127.0.0.1:1/away",
      NODE_OPTIONS: preloaded(`setTimeout(() => Promise.reject(new Error("unheard")), 1500);`),
    });
    expect(code).toBe(1);
    expect(lines).toContainEqual(expect.objectContaining({ level: 60, err: expect.objectContaining({ message: "unheard" }) }));
  });

  test("npm start appends what a dying process writes as text as JSON too", async () => {
    const script = join(folder, "dies.mjs");
    writeFileSync(script, `console.log('{"msg":"a line of its own"}'); console.error("FATAL ERROR: no memory"); process.abort();`);
    await expect(runStep("dies", script, {}, folder, AbortSignal.timeout(20_000))).rejects.toThrow(/dies has failed; .*FATAL ERROR/s);
    const lines = readFileSync(join(folder, "dies.log"), "utf8").trimEnd().split("\n");
    const messages = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(messages).toEqual(expect.arrayContaining(["a line of its own", "FATAL ERROR: no memory"]));
  });
});

test("a log is cut at 10 MB and seven full ones are kept, of earlier starts too", () => {
  const path = join(folder, "long.log");
  const open = () => openLog(path);
  for (let start = 1; start <= 10; start++) {
    open();
    writeFileSync(path, `start ${start} ${"x".repeat(10 * 1024 * 1024)}`, { flag: "a" });
  }
  open();
  expect(statSync(path).size).toBe(0);
  const stored = [1, 2, 3, 4, 5, 6, 7].map((number) => readFileSync(`${path}.${number}`, "utf8").slice(0, 8).trim());
  expect(stored).toEqual(["start 10", "start 9", "start 8", "start 7", "start 6", "start 5", "start 4"]);
  expect(() => statSync(`${path}.8`)).toThrow("ENOENT");
});

describe("PostgreSQL 15", () => {
  let url: string;
  let stop = async () => undefined as unknown;

  // Where the package of 15 is not at hand, a server that says it is one: its role finds another current_setting() first.
  beforeAll(async () => {
    const packageDir = process.env.TEST_POSTGRES_UNSERVED;
    if (packageDir) {
      const dataDir = join(folder, "unserved");
      const server = await startEmbedded({ dataDir, fast: true, port: 21_520, log: () => undefined, packageDir });
      url = server.url;
      stop = async () => {
        await server.stop();
        rmSync(server.home, { recursive: true, force: true });
      };
      return;
    }
    const role = `old_${randomBytes(4).toString("hex")}`;
    const client = new pg.Client({ connectionString: inject("superuserUrl") });
    await client.connect();
    await client.query(`create role ${role} login createrole password '${role}'`);
    await client.query(`create schema ${role} authorization ${role}`);
    await client.query(`create function ${role}.current_setting(name text) returns text language sql as $$
      select case name when 'server_version_num' then '150018' when 'server_version' then '15.18' else pg_catalog.current_setting(name) end $$`);
    await client.query(`alter role ${role} set search_path = ${role}, pg_catalog`);
    await client.end();
    url = Object.assign(new URL(inject("superuserUrl")), { username: role, password: role }).href;
  }, 60_000);
  afterAll(() => stop());

  const sentence = "PostgreSQL 15.18 is not supported: Cell CRM needs PostgreSQL 16, 17 or 18.";

  test.each(everyProgram)("is refused by %s in a sentence that names what is served", async (program) => {
    const { code, lines } = await run(program, { ...settings, DATABASE_URL: url });
    expect(code).toBe(2);
    expect(lines.at(-1)).toMatchObject({ level: 60, msg: sentence });
    expect(lines.at(-1)).not.toHaveProperty("err");
  });

  test("is refused by npm start", async () => {
    const env = { PATH: process.env.PATH, PORT: "0", CRM_PORT: "0", DATA_DIR: join(folder, "data"), DATABASE_URL: url };
    const child = spawn(process.execPath, [join(root, "scripts/start.ts")], { cwd: root, env });
    const [err] = await Promise.all([text(child.stderr), once(child, "exit")]);
    expect(child.exitCode).toBe(1);
    expect(err.trim()).toBe(`DATABASE_URL: ${sentence}`);
  });
});

test("a cell whose tenants would share a login refuses a database that no superuser has prepared", async () => {
  const url = await createManagedDatabase(inject("superuserUrl"));
  for (const program of ["crm-migrate", "crm"] as const) {
    const { code, lines } = await run(program, { ...settings, DATABASE_URL: url, TENANT_LOGINS: "shared" });
    expect(code).toBe(2);
    expect(lines.at(-1)).toMatchObject({ level: 60, msg: expect.stringMatching(/^TENANT_LOGINS=shared needs .*bootstrap\.sql/) });
  }
});
