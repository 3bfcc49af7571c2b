import type { TenantMigration } from "@cell/postgres";

/** Adds pairs of characters to the indexes, for search terms without trigrams. */
export const gramsMigration: TenantMigration = {
  name: "0014_grams",
  sql: ["customers", "opportunities", "contracts", "payments"].map((table) => `reindex index "$tenant".${table}_grams`),
};
