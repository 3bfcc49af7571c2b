import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { startProgram } from "../harness/program.ts";
import { fillCustomers } from "./database.ts";
import { installPackages } from "./npm.ts";
import type { Place, Product } from "./peer.ts";

const version = "11.3.5";
/** Its sandbox (isolated-vm) does not build on newer versions. */
const nodeVersion = "20.20.2";
/** Tokens of the one administrator, who sets it up, and of the caller. */
const adminToken = randomUUID();
const callerToken = randomUUID();

/**
 * Directus with cache, rate limiter, websockets and telemetry off, and only warnings in its log. The caller is not an administrator: its
 * static token may create, read and update customers. Accountability is on: each creation writes an activity and a revision as well,
 * comparable to an audit entry.
 */
export const directus: Product = {
  name: `Directus ${version}`,
  id: "directus",
  async start(place) {
    const { stack, port, customers, databaseUrl } = place;
    const node = await install(place);
    const url = `http://127.0.0.1:${port}`;
    const run = { cwd: place.dir, env: environment(databaseUrl, port, url) };
    const program = join("node_modules", "directus", "cli.js");
    await promisify(execFile)(node, [program, "bootstrap"], run);
    const started = await startProgram({
      ...run,
      name: this.name,
      program: node,
      args: [program, "start"],
      url: `${url}/server/ping`,
      logPath: join(stack.config.dataDir, "logs", `${this.id}.log`),
      onPid: (pid) => stack.record(this.id, pid),
    });
    try {
      await setUp(url);
      await fillCustomers(databaseUrl, customers, "json");
    } catch (error) {
      await started.stop();
      throw error;
    }
    const headers = { authorization: `Bearer ${callerToken}` };
    return {
      ...started,
      url,
      get: (id) => ({ method: "GET", path: `/items/customers/${id}`, headers }),
      list: { method: "GET", path: "/items/customers?limit=20&sort=-created_at,-customer_id", headers },
      create: (fields) => ({
        method: "POST",
        path: "/items/customers",
        headers: { ...headers, "content-type": "application/json" },
        body: JSON.stringify(withSnakeNames(fields)),
      }),
    };
  },
};

/** Resolves to the Node that it runs on, which also comes from npm. */
async function install({ dir, log }: Place): Promise<string> {
  const name = `node-${process.platform}-${process.arch}`;
  const nodeDir = join(dirname(dir), "node");
  await installPackages({ dir: nodeDir, dependencies: { [name]: nodeVersion }, node: process.execPath, log });
  const node = join(nodeDir, "node_modules", name, "bin", "node");
  await installPackages({ dir, dependencies: { directus: version }, node, built: ["isolated-vm"], log });
  return node;
}

function environment(databaseUrl: string, port: number, url: string): Record<string, string> {
  return {
    NODE_ENV: "production",
    HOST: "127.0.0.1",
    PORT: String(port),
    PUBLIC_URL: url,
    DB_CLIENT: "pg",
    DB_CONNECTION_STRING: databaseUrl,
    SECRET: randomUUID(),
    ADMIN_EMAIL: "admin@example.com",
    ADMIN_PASSWORD: randomUUID(),
    ADMIN_TOKEN: adminToken,
    CACHE_ENABLED: "false",
    RATE_LIMITER_ENABLED: "false",
    WEBSOCKETS_ENABLED: "false",
    TELEMETRY: "false",
    SERVE_APP: "false",
    LOG_LEVEL: "warn",
    LOG_STYLE: "raw",
  };
}

/** The collection with our customer's fields, and a caller who may use it. */
async function setUp(url: string): Promise<void> {
  const field = (name: string, type: string, special: string[] | null = null, schema = {}) => ({
    field: name,
    type,
    schema,
    meta: { special },
  });
  const strings = ["name", "contact_name", "contact_phone", "contact_email", "industry", "level", "source", "owner_id"];
  const fields = [
    field("customer_id", "uuid", ["uuid"], { is_primary_key: true }),
    ...strings.map((name) => field(name, "string")),
    field("status", "string", null, { default_value: "lead" }),
    field("address", "text"),
    field("tags", "json", ["cast-json"]),
    field("notes", "text"),
    field("custom_fields", "json", ["cast-json"]),
    field("created_at", "timestamp", ["date-created"]),
    field("updated_at", "timestamp", ["date-created", "date-updated"]),
    field("version", "integer", null, { default_value: 1 }),
  ];
  await asAdmin(url, "/collections", { collection: "customers", schema: {}, meta: { accountability: "all" }, fields });
  const policy = await asAdmin(url, "/policies", { name: "bench", app_access: false, admin_access: false });
  const rule = { policy, collection: "customers", fields: ["*"], permissions: {}, validation: {} };
  for (const action of ["create", "read", "update"]) await asAdmin(url, "/permissions", { ...rule, action });
  const role = await asAdmin(url, "/roles", { name: "bench" });
  await asAdmin(url, "/access", { role, policy });
  await asAdmin(url, "/users", { email: "bench@example.com", role, token: callerToken, status: "active" });
}

/** Resolves to the id of what was made. */
async function asAdmin(url: string, path: string, body: unknown): Promise<unknown> {
  const headers = { authorization: `Bearer ${adminToken}`, "content-type": "application/json" };
  const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`Directus answers ${path} by ${response.status}: ${text.slice(0, 500)}`);
  return (JSON.parse(text) as { data: { id?: unknown } }).data.id;
}

function withSnakeNames(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [snake(name), value]));
}
