import type { TenantMigration } from "@cell/postgres";

/** Adds the stored size of an import's failed rows, and whether some are not stored. */
export const failedRowsMigration: TenantMigration = {
  name: "0018_failed_rows",
  sql: [
    `alter table "$tenant".imports add column failed_row_bytes int not null default 0,
      add column failed_rows_truncated boolean not null default false`,
  ],
};
