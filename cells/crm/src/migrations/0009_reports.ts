import type { TenantMigration } from "@cell/postgres";

/** Fills in every opportunity's stage progress from its history. */
export const progressOfHistory: readonly string[] = [
  `update "$tenant".opportunity_history as move set
      from_pipeline_id = earlier.pipeline_id, from_stage_type = earlier.stage_type, from_entered_at = earlier.at
    from (
      select opportunity_id, seq, lag(pipeline_id) over way as pipeline_id, lag(stage_type) over way as stage_type, lag(at) over way as at
      from "$tenant".opportunity_history where moved window way as (partition by opportunity_id order by seq)) as earlier
    where move.opportunity_id = earlier.opportunity_id and move.seq = earlier.seq and earlier.at is not null`,
  `update "$tenant".opportunities as opportunity set entered = way.entered, last_stage = way.last_stage
    from (
      select opportunity_id, pipeline_id, bit_or(case when number < 63 then 1::bigint << number else 0 end) as entered,
        max(seq::bigint * 1024 + number) filter (where stage_type <> 'lost') % 1024 as last_stage
      from "$tenant".opportunity_history join "$tenant".pipeline_stages using (pipeline_id, stage)
      where moved group by opportunity_id, pipeline_id) as way
    where opportunity.opportunity_id = way.opportunity_id and opportunity.pipeline_id = way.pipeline_id`,
];

/** Stores what funnels count by in the opportunity, and the arrival with each exit from a stage: no report has to read a whole history. */
export const reportsMigration: TenantMigration = {
  name: "0009_reports",
  sql: [
    // Numbers are never reused, even those of removed stages: they are bits in a mask.
    `alter table "$tenant".pipeline_stages add number smallint`,
    `update "$tenant".pipeline_stages as stage set number = numbered.number - 1
      from (select pipeline_id, stage, row_number() over (partition by pipeline_id order by active desc, position) as number
        from "$tenant".pipeline_stages) as numbered
      where stage.pipeline_id = numbered.pipeline_id and stage.stage = numbered.stage`,
    `alter table "$tenant".pipeline_stages alter number set not null`,
    `create unique index pipeline_stages_number on "$tenant".pipeline_stages (pipeline_id, number)`,
    `alter table "$tenant".opportunity_history add from_pipeline_id uuid, add from_stage_type text, add from_entered_at timestamptz`,
    `alter table "$tenant".opportunities add entered bigint, add last_stage smallint`,
    ...progressOfHistory,
    `alter table "$tenant".opportunities alter entered set not null`,
    `create index opportunities_cohort on "$tenant".opportunities (pipeline_id, created_at)
      include (stage, status, currency, entered, last_stage, amount) where deleted_at is null`,
    `create index opportunities_deleted on "$tenant".opportunities (opportunity_id) where deleted_at is not null`,
    `create index opportunity_history_departures on "$tenant".opportunity_history (from_pipeline_id, from_entered_at) where from_entered_at is not null`,
  ],
};
