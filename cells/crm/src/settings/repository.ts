import type { StoredSettings } from "@cell/cell";
import { type Parameters, statement, type TenantDb, type TenantTx, tenantTables } from "@cell/postgres";

interface SettingsTable {
  settings: { values: unknown; version: number; updatedAt: string };
}

/** The stored settings: only those that were set. */
export interface Stored {
  values: StoredSettings;
  version: number;
  updatedAt: string;
}

const db = tenantTables<SettingsTable>();

const read = statement((_: Parameters<object>) => db.selectFrom("settings").select(["values", "version", "updatedAt"]).$castTo<Stored>());

const write = statement((p: Parameters<{ values: string; version: number; updatedAt: string; read: number }>) =>
  db.updateTable("settings").set({ values: p.values, version: p.version, updatedAt: p.updatedAt }).where("version", "=", p.read),
);

/** The tenant's settings. Throws an Error if they are missing: the schema is damaged. */
export async function find(tenant: TenantDb): Promise<Stored> {
  const stored = await tenant.first(read, {});
  if (!stored) throw new Error(`the settings of ${tenant.tenantId} are missing`);
  return stored;
}

/** Updates settings that were read at the previous version. */
export function update(tx: TenantTx, { values, version, updatedAt }: Stored) {
  return tx.change(write, { values: JSON.stringify(values), version, updatedAt, read: version - 1 }, "settings changed");
}
