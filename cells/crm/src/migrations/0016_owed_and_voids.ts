import type { TenantMigration } from "@cell/postgres";

/** The outstanding amount of a contract depends on its status too, and a voided payment has a reason. */
export const owedAndVoidsMigration: TenantMigration = {
  name: "0016_owed_and_voids",
  sql: [
    // PostgreSQL 16 cannot change a generated column's expression: the column is dropped and added.
    `alter table "$tenant".contracts drop column outstanding_amount, add column outstanding_amount numeric not null generated always as
      (case when status in ('draft', 'void') then 0 else greatest(amount - received_amount, 0) end) stored`,
    `alter table "$tenant".payments add column void_reason text`,
  ],
};
