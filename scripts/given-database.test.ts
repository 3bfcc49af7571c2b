import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createManagedDatabase, startTestServer, type TestServer } from "@cell/postgres/testing/server";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "cell-crm-given-"));
/** Of its own: npm start gives the roles of a server passwords of its own. */
let server: TestServer;
let running: ChildProcess | undefined;

beforeAll(async () => {
  server = await startTestServer(21_560);
}, 60_000);
afterAll(async () => {
  running?.kill("SIGKILL");
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

async function query<Row extends object>(text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: server.superuserUrl });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Runs npm start on a database until it is ready, and stops it. Resolves to what it said and the roles of the programs' sessions. */
async function startOn(url: string, name: string): Promise<{ output: string; roles: string[]; code: number | null }> {
  const dataDir = join(folder, name);
  const env = { ...process.env, PORT: "0", CRM_PORT: "0", DEMO: "0", DATA_DIR: dataDir, DATABASE_URL: url };
  const child = spawn(process.execPath, [join(import.meta.dirname, "start.ts")], { env });
  running = child;
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  while (!existsSync(join(dataDir, "demo.json"))) {
    if (child.exitCode !== null) throw new Error(output);
    await sleep(50);
  }
  const { gateway } = JSON.parse(readFileSync(join(dataDir, "demo.json"), "utf8")) as { gateway: string };
  expect((await fetch(`${gateway}/ready`)).status).toBe(200);
  const rows = await query<{ role: string }>(
    `select distinct usename || case when rolsuper then ' (superuser)' else '' end as role from pg_stat_activity
     join pg_roles on rolname = usename where datname = '${new URL(url).pathname.slice(1)}' and application_name <> '' order by 1`,
  );
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  return { output, roles: rows.map(({ role }) => role), code };
}

test("npm start on a database of one's own: as its owner, and as a superuser, as whom no program connects", {
  timeout: 120_000,
}, async () => {
  // As on a provider's server, on which nobody is a superuser.
  for (const role of ["crm_monitor", "gateway", "crm"]) await query(`alter role ${role} rename to ${role}_of_others`);
  const managed = await createManagedDatabase(server.superuserUrl);
  const owned = await startOn(managed, "managed");
  expect(owned).toMatchObject({ code: 0, roles: ["gateway", new URL(managed).username].sort() });
  expect(owned.output).toContain("no superuser has run deploy/postgres/bootstrap.sql");

  await query("create database given template template0");
  const given = Object.assign(new URL(server.superuserUrl), { pathname: "given" }).href;
  const superuser = await startOn(given, "superuser");
  expect(superuser).toMatchObject({ code: 0, roles: ["crm", "gateway"] });
  expect(superuser.output).not.toContain("no superuser has run");
});
