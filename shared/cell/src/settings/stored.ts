import { type Parameters, statement, type Tenant, tenantTables } from "@cell/postgres";

/** A tenant's stored settings: names to values, without those that were never set. */
export type StoredSettings = Readonly<Record<string, unknown>>;

interface SettingsTable {
  settings: { values: Record<string, unknown>; version: number; updatedAt: string };
}

const tables = tenantTables<SettingsTable>();
const readSettings = statement((_: Parameters<object>) => tables.selectFrom("settings").select(["values", "version", "updatedAt"]));

const cache = new WeakMap<Tenant, { at: number; values: StoredSettings }>();
const freshForMs = 5_000;

/** The tenant's settings, at most five seconds old. */
export async function settingsOf(tenant: Tenant): Promise<StoredSettings> {
  const known = cache.get(tenant);
  if (known && performance.now() - known.at < freshForMs) return known.values;
  const row = await tenant.reader().first(readSettings, {});
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
