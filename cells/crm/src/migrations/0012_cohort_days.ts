import type { TenantMigration } from "@cell/postgres";

/** Funnels are summed by the day of creation: how few days there are PostgreSQL has to be told. */
export const cohortDaysMigration: TenantMigration = {
  name: "0012_cohort_days",
  sql: [
    `create statistics "$tenant".opportunities_created_day
      on (date_bin('1 day', created_at, timestamptz '2000-01-01 00:00:00+00')) from "$tenant".opportunities`,
    `analyze "$tenant".opportunities`,
  ],
};
