import type { TenantMigration } from "@cell/postgres";

export const customersMigration: TenantMigration = {
  name: "0002_customers",
  sql: [
    `create table "$tenant".customers (
      customer_id uuid primary key, name text not null, name_key text not null, contact_name text, contact_phone text, contact_email text,
      industry text, level text, source text, status text not null, owner_id text not null, address text,
      tags text[] not null, notes text, custom_fields jsonb not null, merged_into uuid, import_id uuid,
      created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz, version int not null,
      search text not null generated always as (lower(name || E'\\n' || coalesce(contact_name, '') || E'\\n' || coalesce(industry, '') || E'\\n' ||
        public.crm_join(tags) || E'\\n' || coalesce(notes, ''))) stored)`,
    `create unique index customers_name_key on "$tenant".customers (name_key) where deleted_at is null`,
    `create index customers_created_at on "$tenant".customers (created_at, customer_id) where deleted_at is null`,
    `create index customers_owner on "$tenant".customers (owner_id, created_at, customer_id) where deleted_at is null`,
    `create index customers_search on "$tenant".customers using gin (search public.gin_trgm_ops) where deleted_at is null`,
    `create index customers_grams on "$tenant".customers using gin (public.crm_grams(search)) where deleted_at is null`,
    `create index customers_import on "$tenant".customers (import_id) where import_id is not null`,
    `grant select, insert, update on "$tenant".customers to "$login"`,
  ],
};
