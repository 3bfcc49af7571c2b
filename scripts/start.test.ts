import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";

interface Demo {
  metrics: Record<string, string>;
  gateway: string;
  cells: Record<string, string>;
  database: string;
  pids: Record<string, number>;
  tenants: Record<string, Record<string, { userId: string; key: string }>>;
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
let copy: string;
let running: ChildProcess | undefined;
/** What npm start has written since it was started last. */
let output = "";

beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), "cell-crm-start-"));
  const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" })
    .split("\n")
    .filter((file) => file !== "" && existsSync(join(root, file)));
  for (const file of files) cpSync(join(root, file), join(copy, file));
  // Links instead of a second installation; npm start would install what is missing.
  execFileSync("cp", ["-al", join(root, "node_modules"), join(copy, "node_modules")]);
}, 60_000);

afterAll(async () => {
  if (running?.pid && running.exitCode === null) await stop();
  rmSync(copy, { recursive: true, force: true });
}, 60_000);

async function start(): Promise<Demo> {
  const file = join(copy, ".data", "demo.json");
  rmSync(file, { force: true });
  output = "";
  const child = spawn("npm", ["start"], {
    cwd: copy,
    detached: true,
    env: { ...process.env, PORT: "0", CRM_PORT: "0", DATA_DIR: ".data" },
  });
  running = child;
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  for (let waited = 0; !existsSync(file); waited += 100) {
    if (child.exitCode !== null || waited > 90_000) throw new Error(`npm start did not come up:\n${output}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return JSON.parse(readFileSync(file, "utf8")) as Demo;
}

/** As Ctrl-C in a terminal: the whole group gets the signal. Resolves to the exit code. */
async function stop(): Promise<number | null> {
  const child = running;
  if (!child?.pid || child.exitCode !== null) return child?.exitCode ?? null;
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  process.kill(-child.pid, "SIGINT");
  return ended;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The shell lines of a part of the README. */
function linesOf(part: string): string {
  const readme = readFileSync(join(copy, "README.md"), "utf8");
  const text = readme.split(`\n## ${part}\n`)[1]?.split("\n## ")[0] ?? "";
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1]).join("\n");
}

function paste(lines: string, demo: Demo): string[] {
  const script = `set -e\n${lines.replaceAll("http://127.0.0.1:8080", demo.gateway)}`;
  return execFileSync("bash", ["-c", script], { cwd: copy, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })
    .trim()
    .split(/\n|(?<=\})(?=\{)/);
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
function logOf(name: string): { pid: number; level: number; msg: string }[] {
  const lines = readFileSync(join(copy, ".data", "logs", `${name}.log`), "utf8")
    .trimEnd()
    .split("\n");
  return lines.map((line) => JSON.parse(line));
}

test("npm start in an empty copy: the README's lines work as they stand, and what was acknowledged survives a kill -9 of everything", {
  timeout: 240_000,
}, async () => {
  const demo = await start();
  expect(Object.keys(demo.tenants)).toEqual(["tenant-001", "tenant-002"]);
  const steps = ["Starting PostgreSQL", "crm: bringing its database up to date", "crm: starting", "tenant-001: making the demo tenant"];
  const places = [...steps, "Cell CRM runs"].map((step) => output.indexOf(step));
  expect(places, output).toEqual(places.toSorted((a, b) => a - b));
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

  const [created, list, trail, verified] = paste(linesOf("A first call"), demo).map((line) => JSON.parse(line));
  expect(created).toMatchObject({
    tenantId: "tenant-001",
    name: "某某公司",
    contactPhone: "138****8000",
    contactEmail: "c***@example.com",
  });
  expect(list.data[0]).toMatchObject({ contactPhone: expect.stringContaining("****") });
  expect(trail.data[0]).toMatchObject({ resourceType: "customer" });
  expect(verified).toMatchObject({ ok: true });
  expect(paste(linesOf("The operator's command"), demo).join("\n")).toContain("tenant-002");

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
  const group = running?.pid ?? 0;
  // Itself first: it would start again what is killed.
  process.kill(-group, "SIGKILL");
  for (const pid of Object.values(demo.pids)) process.kill(pid, "SIGKILL");
  const cutOff = await writing;

  const again = await start();
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
  }

  expect(await stop()).toBe(0);
  for (const pid of Object.values(again.pids)) expect(isAlive(pid)).toBe(false);
});
