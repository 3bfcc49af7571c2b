import type { TenantMigration } from "@cell/postgres";

export const importsMigration: TenantMigration = {
  name: "0003_imports",
  sql: [
    `create table "$tenant".imports (
      import_id uuid primary key, resource_type text not null, status text not null, phase text not null, actor_id text not null,
      options jsonb not null, origin jsonb not null, columns jsonb not null default '[]',
      total int not null default 0, done int not null default 0, created int not null default 0, updated int not null default 0,
      skipped int not null default 0, failed int not null default 0, errors jsonb not null default '[]', errors_truncated boolean not null default false,
      reverted int not null default 0, kept jsonb not null default '[]', revert_seq bigint not null default 0, revert_origin jsonb, swept boolean not null default false,
      created_at timestamptz not null, finished_at timestamptz)`,
    `create index imports_unswept on "$tenant".imports (created_at) where not swept`,
    `grant select, insert, update, delete on "$tenant".imports to "$login"`,
    `create table "$tenant".import_rows (
      import_id uuid not null, row int not null, line int, name_key text, id_key text, valid boolean not null, data json, cells json not null,
      errors json, primary key (import_id, row))`,
    `create index import_rows_name on "$tenant".import_rows (import_id, name_key, row) where valid`,
    `create index import_rows_id on "$tenant".import_rows (import_id, id_key, row) where valid and id_key is not null`,
    `create index import_rows_failed on "$tenant".import_rows (import_id, row) where errors is not null`,
    `grant select, insert, update, delete on "$tenant".import_rows to "$login"`,
  ],
};
