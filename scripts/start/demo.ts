import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { demoCustomers } from "./demo-data.ts";
import { readJson, writePrivately } from "./files.ts";

export interface DemoKey {
  userId: string;
  key: string;
}

export type DemoTenants = Record<string, Record<string, DemoKey>>;

/** `demo.json`: what scripts and clients need to know of a running system. */
export interface DemoFile {
  gateway: string;
  cells: Record<string, string>;
  /** Owner's URL. */
  database: string;
  /** `postgres` is null when the server is not ours. */
  pids: Record<string, number | null>;
  operator: { key: string };
  tenants: DemoTenants;
}

const tenants = [
  { tenantId: "tenant-001", name: "Huaxing Trading" },
  { tenantId: "tenant-002", name: "Mingde Technology" },
] as const;
const roles = ["admin", "manager", "sales", "sales2", "auditor", "integrator"] as const;
const customersPerTenant = 300;

/** Takes `demo.json` away, which is there only while the system is ready; its keys are kept for the next start. */
export function retireDemoFile(dataDir: string): void {
  const path = join(dataDir, "demo.json");
  const tenants = readJson<DemoFile>(path)?.tenants ?? {};
  if (Object.keys(tenants).length > 0) renameSync(path, lastFile(dataDir));
  else rmSync(path, { force: true });
}

/** Writes `demo.json` for the owner's eyes. */
export function writeDemoFile(dataDir: string, content: DemoFile): void {
  writePrivately(join(dataDir, "demo.json"), content);
}

/** Makes the demo tenants, their keys and customers, as far as they are missing. Rejects with the gateway's answer when it refuses. */
export async function ensureDemo(dataDir: string, gateway: string, operatorKey: string, signal: AbortSignal): Promise<DemoTenants> {
  const known = readJson<DemoFile>(lastFile(dataDir))?.tenants ?? {};
  const entries = tenants.map(async (tenant) => {
    const api = new Api(gateway, tenant.tenantId, signal);
    return [tenant.tenantId, await ensureTenant(api, tenant, operatorKey, known[tenant.tenantId] ?? {})] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** A name for a new customer that this tenant does not have yet: 某某公司, 某某公司 2, … */
export async function freeCustomerName(gateway: string, tenantId: string, key: string, signal: AbortSignal): Promise<string> {
  const name = "某某公司";
  const { body } = await new Api(gateway, tenantId, signal).call(
    "GET",
    `/api/v1/crm/customers?pageSize=1&keyword=${encodeURIComponent(name)}`,
    key,
  );
  return body.total ? `${name} ${body.total + 1}` : name;
}

async function ensureTenant(
  api: Api,
  tenant: (typeof tenants)[number],
  operatorKey: string,
  known: Record<string, DemoKey>,
): Promise<Record<string, DemoKey>> {
  const valid = await Promise.all(roles.map(async (name) => known[name] !== undefined && (await api.accepts(known[name].key))));
  if (!valid.includes(true)) await api.call("POST", "/api/admin/tenants", operatorKey, tenant, ["CONFLICT"]);
  const keys = await Promise.all(
    roles.map(async (name, index) => {
      const userId = userIdOf(tenant.tenantId, name);
      const kept = known[name];
      if (kept && valid[index]) return [name, kept] as const;
      const role = name === "sales2" ? "sales" : name;
      const { body } = await api.call("POST", "/api/admin/keys", operatorKey, {
        tenantId: tenant.tenantId,
        userId,
        role,
        name: `demo ${name}`,
      });
      return [name, { userId, key: body.key ?? "" }] as const;
    }),
  );
  const byName: Record<string, DemoKey> = Object.fromEntries(keys);
  await ensureCustomers(api, tenant.tenantId, byName.admin?.key ?? "");
  return byName;
}

async function ensureCustomers(api: Api, tenantId: string, adminKey: string): Promise<void> {
  const { body } = await api.call("GET", "/api/v1/crm/customers?pageSize=1", adminKey);
  if (body.total !== 0) return;
  const items = demoCustomers(tenantId, customersPerTenant, [userIdOf(tenantId, "sales"), userIdOf(tenantId, "sales2")]);
  await api.call("POST", "/api/v1/crm/customers/import", adminKey, { items, mode: "create" });
}

function userIdOf(tenantId: string, name: string): string {
  const number = tenantId.replace("tenant-", "");
  return name === "sales" ? `user-${number}` : `user-${name}-${number}`;
}

function lastFile(dataDir: string): string {
  return join(dataDir, "demo.last.json");
}

interface Answer {
  status: number;
  body: { code?: string; message?: string; total?: number; key?: string };
}

/** Calls for one tenant. */
class Api {
  readonly #gateway: string;
  readonly #tenantId: string;
  readonly #signal: AbortSignal;

  constructor(gateway: string, tenantId: string, signal: AbortSignal) {
    this.#gateway = gateway;
    this.#tenantId = tenantId;
    this.#signal = signal;
  }

  /** Rejects unless the answer is a success or carries one of the tolerated codes. */
  async call(method: string, path: string, key: string, body?: unknown, tolerated: string[] = []): Promise<Answer> {
    const answer = await this.#send(method, path, key, body);
    if (answer.status < 400 || tolerated.includes(answer.body.code ?? "")) return answer;
    throw new Error(`The demo data cannot be made: ${method} ${path} answers ${answer.status} ${answer.body.code}: ${answer.body.message}`);
  }

  /** True when the key is known; what it may do is another question. */
  async accepts(key: string): Promise<boolean> {
    return (await this.#send("GET", "/api/v1/crm/customers?pageSize=1", key)).status !== 401;
  }

  async #send(method: string, path: string, key: string, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${key}` };
    if (path.startsWith("/api/v1/")) headers["x-tenant-id"] = this.#tenantId;
    if (body !== undefined) headers["content-type"] = "application/json";
    const init: RequestInit = { method, headers, signal: this.#signal };
    if (body !== undefined) init.body = JSON.stringify(body);
    const response = await fetch(this.#gateway + path, init);
    return { status: response.status, body: (await response.json()) as Answer["body"] };
  }
}
