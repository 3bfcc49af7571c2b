import { type Parameters, statement, type Tenant, tenantTables } from "@cell/postgres";

/** A tenant's settings as they are stored: names to values, those that were never set missing. */
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

/** Forgets what is cached, after a change. */
export function settingsChanged(tenant: Tenant): void {
  cache.delete(tenant);
}

/** What a tenant means by dates and phone numbers. */
export interface Conventions {
  /** IANA. */
  timezone: string;
  /** ISO 3166-1: where phone numbers without a country code belong. */
  region: string;
}

export const defaultConventions: Conventions = { timezone: "UTC", region: "CN" };

/** A tenant's conventions, at most five seconds old. */
export async function conventionsOf(tenant: Tenant): Promise<Conventions> {
  return { ...defaultConventions, ...(await settingsOf(tenant)) };
}
