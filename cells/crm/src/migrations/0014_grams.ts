import type { TenantMigration } from "@cell/postgres";

/** Searches that no trigram serves ask for pairs of characters that the indexes have from this step on. */
export const gramsMigration: TenantMigration = {
  name: "0014_grams",
  sql: ["customers", "opportunities", "contracts", "payments"].map((table) => `reindex index "$tenant".${table}_grams`),
};
