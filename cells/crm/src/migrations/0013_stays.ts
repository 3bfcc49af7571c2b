import type { TenantMigration } from "@cell/postgres";

/** Fills in the previous arrival in the same stage for every arrival in an open stage. */
export const reEntriesOfHistory = `update "$tenant".opportunity_history as arrival set arrived_before_at = earlier.at
  from (
    select opportunity_id, seq, lag(at) over (partition by opportunity_id, pipeline_id, stage order by seq) as at
    from "$tenant".opportunity_history where moved and stage_type = 'open') as earlier
  where arrival.opportunity_id = earlier.opportunity_id and arrival.seq = earlier.seq and earlier.at is not null`;

/** Indexes for reports on stage durations, by stage and time; re-entries are found without reading each history. */
export const stageDurationsMigration: TenantMigration = {
  name: "0013_stays",
  sql: [
    `alter table "$tenant".opportunity_history add arrived_before_at timestamptz`,
    reEntriesOfHistory,
    `drop index "$tenant".opportunity_history_departures`,
    `create index opportunity_history_stays on "$tenant".opportunity_history (from_pipeline_id, from_stage, from_entered_at)
      include (at, stage, stage_type, pipeline_id, opportunity_id) where from_stage_type = 'open'`,
    `create index opportunity_history_returns on "$tenant".opportunity_history (pipeline_id, stage, at)
      include (arrived_before_at, opportunity_id) where arrived_before_at is not null`,
    `create index opportunities_open on "$tenant".opportunities (pipeline_id, stage, stage_entered_at)
      where status = 'open' and deleted_at is null`,
  ],
};
