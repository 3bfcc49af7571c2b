import type { TenantMigration } from "@cell/postgres";

export const opportunitiesMigration: TenantMigration = {
  name: "0006_opportunities",
  sql: [
    // The foreign key to the stage includes its type: it keeps the status in step, and no stage with live opportunities can be removed or change its type.
    `create table "$tenant".opportunities (
      opportunity_id uuid primary key, customer_id uuid not null references "$tenant".customers, name text not null,
      amount numeric(19,4) not null, currency text not null, pipeline_id uuid not null, stage text not null, status text not null,
      probability numeric(5,2) not null, probability_overridden boolean not null, expected_close_date date, owner_id text not null,
      lost_reason text, closed_at timestamptz, stage_entered_at timestamptz not null, history_seq int not null, import_id uuid,
      created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz, version int not null,
      live boolean generated always as (case when deleted_at is null then true end) stored,
      search text not null generated always as (lower(name || E'\\n' || coalesce(lost_reason, ''))) stored,
      constraint opportunities_stage_key foreign key (pipeline_id, stage, status, live)
        references "$tenant".pipeline_stages (pipeline_id, stage, type, active))`,
    `create index opportunities_created_at on "$tenant".opportunities (created_at, opportunity_id) where deleted_at is null`,
    `create index opportunities_owner on "$tenant".opportunities (owner_id, created_at, opportunity_id) where deleted_at is null`,
    `create index opportunities_customer on "$tenant".opportunities (customer_id, created_at, opportunity_id) where deleted_at is null`,
    `create index opportunities_stage on "$tenant".opportunities (pipeline_id, stage, created_at, opportunity_id)`,
    `create index opportunities_expected_close on "$tenant".opportunities (expected_close_date, opportunity_id) where deleted_at is null`,
    `create index opportunities_closed_at on "$tenant".opportunities (closed_at, opportunity_id) where deleted_at is null and closed_at is not null`,
    `create index opportunities_search on "$tenant".opportunities using gin (search public.gin_trgm_ops) where deleted_at is null`,
    `create index opportunities_grams on "$tenant".opportunities using gin (public.crm_grams(search)) where deleted_at is null`,
    `create index opportunities_import on "$tenant".opportunities (import_id) where import_id is not null`,
    `grant select, insert, update on "$tenant".opportunities to "$login"`,
    // One row for each state that reports may need; those with \`moved\` are the stage history.
    `create table "$tenant".opportunity_history (
      opportunity_id uuid not null, seq int not null, moved boolean not null, from_stage text, pipeline_id uuid not null, stage text not null,
      stage_type text not null, amount numeric(19,4) not null, currency text not null, probability numeric(5,2) not null,
      expected_close_date date, closed_at timestamptz, owner_id text not null, customer_id uuid not null, deleted boolean not null,
      at timestamptz not null, actor_id text not null, request_id text not null, primary key (opportunity_id, seq))`,
    `create index opportunity_history_arrivals on "$tenant".opportunity_history (pipeline_id, at, stage) where moved`,
    `create index opportunity_history_at on "$tenant".opportunity_history (at)`,
    `grant select, insert on "$tenant".opportunity_history to "$login"`,
  ],
};
