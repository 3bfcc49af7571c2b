import type { TenantMigration } from "@cell/postgres";

export const contactsMigration: TenantMigration = {
  name: "0004_contacts",
  sql: [
    `create table "$tenant".contacts (
      contact_id uuid primary key, customer_id uuid not null references "$tenant".customers, name text not null, title text, phone text,
      email text, is_primary boolean not null, notes text, created_at timestamptz not null, updated_at timestamptz not null,
      deleted_at timestamptz, version int not null,
      search text not null generated always as (lower(name || E'\\n' || coalesce(title, '') || E'\\n' || coalesce(notes, ''))) stored)`,
    `create index contacts_customer on "$tenant".contacts (customer_id, created_at, contact_id) where deleted_at is null`,
    `create index contacts_created_at on "$tenant".contacts (created_at, contact_id) where deleted_at is null`,
    `create unique index contacts_primary on "$tenant".contacts (customer_id) where is_primary and deleted_at is null`,
    `create index contacts_search on "$tenant".contacts using gin (search public.gin_trgm_ops) where deleted_at is null`,
    `grant select, insert, update on "$tenant".contacts to "$login"`,
  ],
};
