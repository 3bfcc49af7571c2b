import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Api } from "./demo-api.ts";
import { type DemoKey, type DemoKeys, type DemoTenant, fillTenant } from "./demo-fill.ts";
import { readJson, writePrivately } from "./files.ts";

export type DemoTenants = Record<string, Record<string, DemoKey>>;

/** `demo.json`: what scripts and clients need to know of a running system. */
export interface DemoFile {
  gateway: string;
  cells: Record<string, string>;
  /** URLs by program, and their bearer token. */
  metrics: { token: string; [program: string]: string };
  /** Owner's URL. */
  database: string;
  /** `postgres` is null if the server is not embedded. */
  pids: Record<string, number | null>;
  operator: { key: string };
  tenants: DemoTenants;
}

const tenants: readonly DemoTenant[] = [
  { tenantId: "tenant-001", name: "Huaxing Trading", currencies: ["CNY"] },
  {
    tenantId: "tenant-002",
    name: "Mingde Technology",
    currencies: ["CNY", "USD", "USD"],
    settings: { timezone: "Asia/Shanghai", rates: { USD: "7.10" } },
  },
];
const roles = ["admin", "manager", "sales", "sales2", "auditor", "integrator"] as const;

/** Removes `demo.json`, which only exists while the system is ready; its keys are kept for the next start. */
export function retireDemoFile(dataDir: string): void {
  const path = join(dataDir, "demo.json");
  const tenants = readJson<DemoFile>(path)?.tenants ?? {};
  if (Object.keys(tenants).length > 0) renameSync(path, lastFile(dataDir));
  else rmSync(path, { force: true });
}

/** Writes `demo.json`, readable only by its owner. */
export function writeDemoFile(dataDir: string, content: DemoFile): void {
  writePrivately(join(dataDir, "demo.json"), content);
}

/** Creates missing demo tenants, their keys and data. Rejects with the gateway's error. */
export async function ensureDemo(
  dataDir: string,
  gateway: string,
  operatorKey: string,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<DemoTenants> {
  const known = readJson<DemoFile>(lastFile(dataDir))?.tenants ?? {};
  const entries = tenants.map(async (tenant) => {
    const api = new Api(gateway, tenant.tenantId, signal);
    return [tenant.tenantId, await ensureTenant(api, tenant, operatorKey, known[tenant.tenantId] ?? {}, log)] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** A customer name that this tenant does not have yet: 某某公司, 某某公司 2, … */
export async function freeCustomerName(gateway: string, tenantId: string, key: string, signal: AbortSignal): Promise<string> {
  const name = "某某公司";
  const { total } = await new Api(gateway, tenantId, signal).first(`/api/v1/crm/customers?keyword=${encodeURIComponent(name)}`, key);
  return total ? `${name} ${total + 1}` : name;
}

async function ensureTenant(
  api: Api,
  tenant: DemoTenant,
  operatorKey: string,
  known: Record<string, DemoKey>,
  log: (line: string) => void,
): Promise<Record<string, DemoKey>> {
  const valid = await Promise.all(roles.map(async (name) => known[name] !== undefined && (await api.accepts(known[name].key))));
  const { tenantId, name } = tenant;
  if (!valid.every(Boolean)) log(`${tenantId}: creating the demo tenant, its keys and its data.`);
  if (!valid.includes(true))
    await api.call("/api/admin/tenants", operatorKey, { method: "POST", body: { tenantId, name }, tolerated: ["CONFLICT"] });
  const keys = await Promise.all(
    roles.map(async (name, index) => {
      const userId = userIdOf(tenantId, name);
      const stored = known[name];
      if (stored && valid[index]) return [name, stored] as const;
      const body = { tenantId, userId, role: name === "sales2" ? "sales" : name, name: `demo ${name}` };
      const { key } = await api.call<{ key: string }>("/api/admin/keys", operatorKey, { method: "POST", body });
      return [name, { userId, key }] as const;
    }),
  );
  await fillTenant(api, tenant, Object.fromEntries(keys) as DemoKeys);
  return Object.fromEntries(keys);
}

function userIdOf(tenantId: string, name: string): string {
  const number = tenantId.replace("tenant-", "");
  return name === "sales" ? `user-${number}` : `user-${name}-${number}`;
}

function lastFile(dataDir: string): string {
  return join(dataDir, "demo.last.json");
}
