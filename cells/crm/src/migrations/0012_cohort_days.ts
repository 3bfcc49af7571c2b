import type { TenantMigration } from "@cell/postgres";

/** Funnels aggregate by the day of creation: extended statistics tell the planner how few days there are. */
export const cohortDaysMigration: TenantMigration = {
  name: "0012_cohort_days",
  sql: [
    `create statistics "$tenant".opportunities_created_day
      on (date_bin('1 day', created_at, timestamptz '2000-01-01 00:00:00+00')) from "$tenant".opportunities`,
    `analyze "$tenant".opportunities`,
  ],
};
