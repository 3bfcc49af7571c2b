import type { TenantMigration } from "@cell/postgres";

/** Funnels are summed by the day of creation: how few days there are PostgreSQL has to be told. */
export const cohortDaysMigration: TenantMigration = {
  name: "0012_cohort_days",
  sql: [
    `create statistics "$tenant".opportunities_created_day on ((created_at at time zone 'UTC')::date) from "$tenant".opportunities`,
    `analyze "$tenant".opportunities`,
  ],
};
