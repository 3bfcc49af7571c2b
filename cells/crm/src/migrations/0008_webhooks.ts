import type { TenantMigration } from "@cell/postgres";

export const webhooksMigration: TenantMigration = {
  name: "0008_webhooks",
  sql: [
    `create table "$tenant".webhooks (
      webhook_id uuid primary key, url text not null, events text[] not null, description text, enabled boolean not null,
      disabled_reason text, secret_key_id text not null, secret_number int not null, previous_secret_key_id text, previous_secret_until timestamptz,
      position_transaction bigint not null, position_seq bigint not null, failing_since timestamptz,
      created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz, version int not null)`,
    `grant select, insert, update, delete on "$tenant".webhooks to "$login"`,
    `create table "$tenant".webhook_deliveries (
      delivery_id uuid primary key, webhook_id uuid not null references "$tenant".webhooks, event_id uuid not null, event_type text not null,
      audit_seq bigint, occurred_at timestamptz not null, status text not null, attempts int not null default 0, tries int not null default 0,
      next_attempt_at timestamptz, created_at timestamptz not null default now(), finished_at timestamptz)`,
    // An event goes to an endpoint once, however often the trail is walked.
    `create unique index webhook_deliveries_event on "$tenant".webhook_deliveries (webhook_id, event_id)`,
    `create index webhook_deliveries_due on "$tenant".webhook_deliveries (webhook_id, next_attempt_at, delivery_id) where status = 'pending'`,
    `create index webhook_deliveries_created_at on "$tenant".webhook_deliveries (webhook_id, created_at, delivery_id)`,
    `create index webhook_deliveries_age on "$tenant".webhook_deliveries using brin (created_at)`,
    `grant select, insert, update, delete on "$tenant".webhook_deliveries to "$login"`,
    `create table "$tenant".webhook_attempts (
      delivery_id uuid not null references "$tenant".webhook_deliveries on delete cascade, attempt int not null, started_at timestamptz not null,
      duration_ms int not null, status_code int, error text, primary key (delivery_id, attempt))`,
    `grant select, insert, delete on "$tenant".webhook_attempts to "$login"`,
  ],
};
