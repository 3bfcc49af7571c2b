import type { TenantMigration } from "@cell/postgres";

export const pipelinesMigration: TenantMigration = {
  name: "0005_pipelines",
  sql: [
    `create table "$tenant".pipelines (
      pipeline_id uuid primary key, name text not null, is_default boolean not null, created_at timestamptz not null,
      updated_at timestamptz not null, version int not null)`,
    `create unique index pipelines_default on "$tenant".pipelines (is_default) where is_default`,
    `create index pipelines_created_at on "$tenant".pipelines (created_at, pipeline_id)`,
    `grant select, insert, update on "$tenant".pipelines to "$login"`,
    // A removed stage stays as inactive, because the history of opportunities refers to it.
    `create table "$tenant".pipeline_stages (
      pipeline_id uuid not null references "$tenant".pipelines, stage text not null, name text not null,
      type text not null check (type in ('open', 'won', 'lost')), probability numeric(5,2) not null, position int not null,
      active boolean not null default true, primary key (pipeline_id, stage),
      constraint pipeline_stages_state unique (pipeline_id, stage, type, active))`,
    `grant select, insert, update on "$tenant".pipeline_stages to "$login"`,
    `with made as (
       insert into "$tenant".pipelines (pipeline_id, name, is_default, created_at, updated_at, version)
       values (gen_random_uuid(), 'Default', true, date_trunc('milliseconds', now()), date_trunc('milliseconds', now()), 1)
       returning pipeline_id)
     insert into "$tenant".pipeline_stages (pipeline_id, stage, name, type, probability, position)
     select pipeline_id, stage, name, type, probability, position from made, (values
       ('prospecting', 'Prospecting', 'open', 10, 1), ('qualification', 'Qualification', 'open', 20, 2), ('proposal', 'Proposal', 'open', 50, 3),
       ('negotiation', 'Negotiation', 'open', 80, 4), ('won', 'Won', 'won', 100, 5), ('lost', 'Lost', 'lost', 0, 6)
     ) as stages (stage, name, type, probability, position)`,
  ],
};
