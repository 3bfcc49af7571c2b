import type { SchemaMigration } from "@cell/postgres";

export const moves: SchemaMigration = {
  name: "0002_moves",
  sql: [
    // Numbers the steps in the cells: a cell rejects steps with an earlier number.
    "create sequence gateway.epochs",
    `create table gateway.moves (
      move_id bigint generated always as identity primary key,
      epoch bigint not null default nextval('gateway.epochs'),
      cell text not null,
      tenant_id text not null references gateway.tenants,
      from_partition text not null,
      to_partition text not null,
      state text not null default 'copying' check (state in ('copying', 'paused', 'flipped', 'aborting', 'done', 'failed')),
      step text not null default 'preparing',
      rows bigint not null default 0,
      -- the gateway process that carries it out, and when it last said so
      runner uuid not null,
      heartbeat_at timestamptz not null default now(),
      started_at timestamptz not null default now(),
      paused_at timestamptz,
      pause_ms int,
      finished_at timestamptz,
      failure text,
      -- the partition that holds a copy which is not served
      leftover text,
      foreign key (cell, from_partition) references gateway.partitions,
      foreign key (cell, to_partition) references gateway.partitions
    )`,
    "create unique index moves_running on gateway.moves (tenant_id, cell) where state in ('copying', 'paused', 'flipped', 'aborting')",
    "create index moves_tenant on gateway.moves (tenant_id, move_id)",
  ],
};
