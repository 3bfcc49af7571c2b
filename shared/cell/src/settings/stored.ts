import { type Parameters, statement, type Tenant, type TenantDb, type TenantTx, tenantTables } from "@cell/postgres";

/** A tenant's stored settings: names to values, without those that were never set. */
export type StoredSettings = Readonly<Record<string, unknown>>;

interface SettingsTable {
  settings: { values: unknown; version: number; updatedAt: string };
}

/** The row of a tenant's settings: only those that were set. */
export interface SettingsRow {
  values: StoredSettings;
  version: number;
  updatedAt: string;
}

const db = tenantTables<SettingsTable>();

const read = statement((_: Parameters<object>) =>
  db.selectFrom("settings").select(["values", "version", "updatedAt"]).$castTo<SettingsRow>(),
);

const write = statement((p: Parameters<{ values: string; version: number; updatedAt: string; read: number }>) =>
  db.updateTable("settings").set({ values: p.values, version: p.version, updatedAt: p.updatedAt }).where("version", "=", p.read),
);

/** The tenant's settings as they are stored now. Throws an Error if they are missing: the schema is damaged. */
export async function findSettings(tenant: TenantDb): Promise<SettingsRow> {
  const stored = await tenant.first(read, {});
  if (!stored) throw new Error(`the settings of ${tenant.tenantId} are missing`);
  return stored;
}

/** Updates settings that were read at the previous version. */
export function updateSettings(tx: TenantTx, { values, version, updatedAt }: SettingsRow) {
  return tx.change(write, { values: JSON.stringify(values), version, updatedAt, read: version - 1 }, "settings changed");
}

const cache = new WeakMap<Tenant, { at: number; values: StoredSettings }>();
const freshForMs = 5_000;

/** The tenant's settings, at most five seconds old. */
export async function settingsOf(tenant: Tenant): Promise<StoredSettings> {
  const known = cache.get(tenant);
  if (known && performance.now() - known.at < freshForMs) return known.values;
  const row = await tenant.reader().first(read, {});
  const values = row?.values ?? {};
  cache.set(tenant, { at: performance.now(), values });
  return values;
}

/** Invalidates the cache after a change. */
export function settingsChanged(tenant: Tenant): void {
  cache.delete(tenant);
}

/** How a tenant's dates and phone numbers are read. */
export interface Conventions {
  /** IANA. */
  timezone: string;
  /** ISO 3166-1: the region of phone numbers without a country code. */
  region: string;
}

export const defaultConventions: Conventions = { timezone: "UTC", region: "CN" };

/** A tenant's conventions, at most five seconds old. */
export async function conventionsOf(tenant: Tenant): Promise<Conventions> {
  return { ...defaultConventions, ...(await settingsOf(tenant)) };
}
