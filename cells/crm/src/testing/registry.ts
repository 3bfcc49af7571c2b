import { openRegistry, type RegistryOptions } from "@cell/cell";
import type { Registry } from "@cell/postgres";
import { tenantMigrations } from "../migrations/tenant.ts";

/** The tenants of the CRM, without the cell. */
export function createRegistry(options: RegistryOptions): Registry {
  return openRegistry({ name: "crm", tenantMigrations }, options);
}
