import { chassisMigration } from "@cell/cell";
import type { TenantMigration } from "@cell/postgres";
import { customersMigration } from "./0002_customers.ts";

/** The history of a tenant's schema: only ever added to, at the end. */
export const tenantMigrations: readonly TenantMigration[] = [chassisMigration, customersMigration];
