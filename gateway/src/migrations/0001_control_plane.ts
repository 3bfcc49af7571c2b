import type { SchemaMigration } from "@cell/postgres";

export const controlPlane: SchemaMigration = {
  name: "0001_control_plane",
  sql: [
    `create table gateway.tenants (
      tenant_id text primary key,
      name text not null,
      status text not null default 'active' check (status in ('active', 'suspended')),
      created_at timestamptz not null default now()
    )`,
    `create table gateway.partitions (
      cell text not null,
      partition text not null,
      url text not null,
      primary key (cell, partition)
    )`,
    `create table gateway.placements (
      cell text not null,
      tenant_id text not null references gateway.tenants,
      partition text not null,
      -- false while the cell may not have the tenant yet, or may have it no longer
      provisioned boolean not null default false,
      primary key (tenant_id, cell),
      foreign key (cell, partition) references gateway.partitions
    )`,
    "create index placements_partition_idx on gateway.placements (cell, partition)",
    `create table gateway.api_keys (
      key_id uuid primary key,
      tenant_id text not null references gateway.tenants,
      user_id text not null,
      role text not null,
      permissions text[],
      act_as boolean not null,
      name text,
      prefix text not null,
      secret_hash bytea not null unique,
      env text not null,
      created_at timestamptz not null default now(),
      expires_at timestamptz,
      last_used_at timestamptz,
      revoked_at timestamptz,
      rotated_from uuid
    )`,
    "create index api_keys_tenant_id_idx on gateway.api_keys (tenant_id, key_id)",
    `create table gateway.revision (
      only_row boolean primary key default true check (only_row),
      revision bigint not null
    )`,
    "insert into gateway.revision (revision) values (1)",
  ],
};
