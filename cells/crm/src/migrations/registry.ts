import { foldMigration, gramsMigration, searchMigration } from "@cell/cell";
import { hardeningMigration, placementMigration, registryMigrations, type SchemaMigration } from "@cell/postgres";

/** The cell's own schema, and the functions in `public` that the tenants' tables use. */
export const cellMigrations: SchemaMigration[] = [
  ...registryMigrations("crm"),
  searchMigration,
  placementMigration("crm"),
  hardeningMigration(),
  gramsMigration,
  foldMigration(),
];
