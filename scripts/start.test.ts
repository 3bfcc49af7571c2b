import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "@cell/http";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readPages } from "./testing/pages.ts";
import { type Demo, StartedCopy } from "./testing/started-copy.ts";

let copy: StartedCopy;

beforeAll(() => {
  copy = new StartedCopy(22_100);
}, 60_000);

afterAll(() => copy.remove(), 60_000);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Pastes the README's first call into a shell; resolves to what it prints. */
function pasteFirstCall(demo: Demo): string {
  const lines = readPages()[0]?.blocks.find(({ language, runner }) => language === "sh" && runner === undefined)?.text ?? "";
  const script = `set -e\n${lines.replaceAll("http://127.0.0.1:8080", demo.gateway)}`;
  return execFileSync("bash", ["-c", script], { cwd: copy.folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

async function create(demo: Demo, name: string, requestId: string) {
  const response = await fetch(`${demo.gateway}/api/v1/crm/customers`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${demo.tenants["tenant-001"]?.admin?.key}`,
      "x-tenant-id": "tenant-001",
      "x-request-id": requestId,
      "content-type": "application/json",
    },
    body: JSON.stringify({ name }),
  });
  return { status: response.status, replayed: response.headers.get("idempotency-replayed"), text: await response.text() };
}

/** The log lines of a program, of all starts. */
function logOf(name: string): { pid: number; level: number; msg: string; version?: string }[] {
  const lines = readFileSync(join(copy.folder, ".data", "logs", `${name}.log`), "utf8")
    .trimEnd()
    .split("\n");
  return lines.map((line) => JSON.parse(line));
}

test("npm start in an empty copy: the README's first call works as it stands, and what was acknowledged survives a kill -9 of everything", {
  timeout: 240_000,
}, async () => {
  const demo = await copy.start();
  expect(Object.keys(demo.tenants)).toEqual(["tenant-001", "tenant-002"]);
  const steps = ["Starting PostgreSQL", "crm: migrating its database", "crm: starting", "tenant-001: creating the demo tenant"];
  const places = [...steps, "Cell CRM runs"].map((step) => copy.output.indexOf(step));
  expect(places, copy.output).toEqual(places.toSorted((a, b) => a - b));
  expect(places[0], "each step is said").toBeGreaterThan(-1);

  const database = new pg.Client({ connectionString: demo.database });
  await database.connect();
  const sessions = await database.query(
    `select distinct usename as role, rolsuper as super from pg_stat_activity join pg_roles on rolname = usename
     where backend_type = 'client backend' and pid <> pg_backend_pid() and usename !~ '^tenant_' order by 1`,
  );
  expect(sessions.rows).toEqual([
    { role: "crm", super: false },
    { role: "gateway", super: false },
  ]);
  await database.end();
  expect(Object.keys(demo.tenants["tenant-001"] ?? {}).sort()).toEqual(["admin", "auditor", "integrator", "manager", "sales", "sales2"]);

  const created = JSON.parse(pasteFirstCall(demo));
  expect(created).toMatchObject({
    tenantId: "tenant-001",
    name: "某某公司",
    contactPhone: "138****8000",
    contactEmail: "c***@example.com",
  });

  for (const url of [demo.gateway, `${demo.gateway}/api/v1/crm`])
    expect(await (await fetch(`${url}/health`)).json()).toEqual({ status: "ok", version });

  const foreign = await fetch(`${demo.gateway}/api/v1/crm/customers/${created.customerId}`, {
    headers: { authorization: `Bearer ${demo.tenants["tenant-002"]?.admin?.key}`, "x-tenant-id": "tenant-002" },
  });
  expect(foreign.status).toBe(404);

  const metrics = await fetch(`${demo.gateway}/api/v1/crm/metrics`, {
    headers: { authorization: `Bearer ${demo.tenants["tenant-001"]?.admin?.key}`, "x-tenant-id": "tenant-001", accept: "text/plain" },
  });
  expect(metrics.headers.get("content-type"), "the process's own figures stay on the cell's port").toContain("application/json");
  const { token, ...programs } = demo.metrics;
  expect(Object.keys(programs).sort()).toEqual(["crm", "gateway"]);
  for (const url of Object.values(programs)) {
    const figures = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    expect([figures.status, await figures.text()]).toEqual([200, expect.stringContaining("http_requests_total")]);
    expect((await fetch(url, { headers: { accept: "text/plain" } })).status).toBe(401);
  }

  const acknowledged = await Promise.all(Array.from({ length: 30 }, (_, index) => create(demo, `Survivor ${index}`, `survivor-${index}`)));
  expect(acknowledged.map((response) => response.status)).toEqual(Array(30).fill(201));
  const writing = Promise.allSettled(Array.from({ length: 60 }, (_, index) => create(demo, `Cut off ${index}`, `cut-off-${index}`)));
  const group = copy.pid;
  // Itself first: it would start again what is killed.
  process.kill(-group, "SIGKILL");
  for (const pid of Object.values(demo.pids)) process.kill(pid, "SIGKILL");
  const cutOff = await writing;

  const again = await copy.start();
  for (const [index, response] of acknowledged.entries()) {
    const repeated = await create(again, `Survivor ${index}`, `survivor-${index}`);
    expect([repeated.text, repeated.replayed]).toEqual([response.text, "true"]);
  }
  for (const [index, result] of cutOff.entries()) {
    const repeated = await create(again, `Cut off ${index}`, `cut-off-${index}`);
    expect(repeated.status).toBe(201);
    if (result.status === "fulfilled" && result.value.status === 201) expect(repeated.text).toBe(result.value.text);
  }

  for (const name of ["gateway", "crm"]) {
    const pids = new Set(logOf(name).map(({ pid }) => pid));
    for (const pid of [demo.pids[name], again.pids[name]]) expect(pids, `the log of ${name} keeps earlier starts`).toContain(pid);
    expect(logOf(name).filter(({ msg }) => msg.includes("deprecated"))).toEqual([]);
    expect(new Set(logOf(name).flatMap((line) => line.version ?? [])), `the log of ${name} names the version`).toEqual(new Set([version]));
  }

  expect(await copy.stop()).toBe(0);
  for (const pid of Object.values(again.pids)) expect(isAlive(pid)).toBe(false);
});
