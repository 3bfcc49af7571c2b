import { hardeningMigration, placementMigration, registryMigrations, type SchemaMigration, type TenantMigration } from "@cell/postgres";
import { foldMigration } from "./lists/fold.ts";
import { gramsMigration, searchMigration } from "./lists/keyword-migrations.ts";

/** The tables of the cell framework in each tenant's schema: stored responses, the audit trail with its seals, the tenant's settings. */
export const cellMigration: TenantMigration = {
  name: "0001_chassis",
  sql: [
    `create table "$tenant".idempotency_keys (
      key bytea primary key, fingerprint bytea not null, status smallint not null, body text not null, resource_id text,
      created_at timestamptz not null)`,
    // Swept by age: rows are inserted in order of time, so that a block range index is enough.
    `create index idempotency_keys_created_at on "$tenant".idempotency_keys using brin (created_at)`,
    `grant select, insert, delete on "$tenant".idempotency_keys to "$login"`,
    `create table "$tenant".audit_logs (
      seq bigint generated always as identity primary key, id uuid not null, transaction_id bigint not null default (pg_current_xact_id()::text::bigint),
      occurred_at timestamptz not null, actor_id text not null, actor_type text not null, action text not null,
      resource_type text not null, resource_id text not null, resource_name text, resource_version int, changes json not null,
      request_id text not null, import_id uuid, ip text, user_agent text)`,
    `create unique index audit_logs_id on "$tenant".audit_logs (id)`,
    `create index audit_logs_resource on "$tenant".audit_logs (resource_type, resource_id, seq)`,
    `create index audit_logs_import on "$tenant".audit_logs (import_id, seq) where import_id is not null`,
    // The order in which entries are sealed and verified.
    `create index audit_logs_transaction on "$tenant".audit_logs (transaction_id, seq)`,
    // For the entries of one request, by its whole id.
    `create index audit_logs_request on "$tenant".audit_logs using hash (request_id)`,
    `create index audit_logs_occurred_at on "$tenant".audit_logs using brin (occurred_at)`,
    // Without seq and transaction_id: the database assigns an entry's position.
    `grant select, insert (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, resource_name, resource_version, changes,
      request_id, import_id, ip, user_agent) on "$tenant".audit_logs to "$login"`,
    `create table "$tenant".audit_seals (
      seal bigint primary key, from_transaction bigint not null, from_seq bigint not null, to_transaction bigint not null, to_seq bigint not null,
      transaction_offset bigint not null, seqs bigint[] not null, hashes bytea not null, previous_root bytea not null, root bytea not null,
      key_id text not null, signature bytea not null, sealed_at timestamptz not null)`,
    `create index audit_seals_from on "$tenant".audit_seals (from_transaction, from_seq)`,
    `grant select on "$tenant".audit_seals to "$login"`,
    `create table "$tenant".settings (
      only_row boolean primary key default true check (only_row), values jsonb not null, version int not null, updated_at timestamptz not null)`,
    `insert into "$tenant".settings (values, version, updated_at) values ('{}', 1, now())`,
    `grant select, update on "$tenant".settings to "$login"`,
  ],
};

/** Responses of requests that changed nothing, each stored once; the keys hold references. */
export const sharedResponsesMigration: TenantMigration = {
  name: "0020_shared_answers",
  sql: [
    `create table "$tenant".shared_answers (digest bytea primary key, body text not null, created_at timestamptz not null)`,
    `grant select, insert on "$tenant".shared_answers to "$login"`,
  ],
};

/**
 * Cached aggregates of reports, for processes that start. They can be computed again: the table is neither logged nor moved with the
 * tenant.
 */
export const aggregateStoreMigration: TenantMigration = {
  name: "0015_kept_parts",
  sql: [
    `create unlogged table "$tenant".kept_parts (
      question text primary key, snapshot pg_snapshot not null, transaction_offset bigint not null, first text not null, last text not null,
      rows text not null, kept_at timestamptz not null)`,
    `grant select, insert, update, delete on "$tenant".kept_parts to "$login"`,
  ],
};

/** Endpoints of webhooks, their deliveries and attempts: see `defineWebhooks`. */
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

/** The migrations of a new cell's own schema: its registry of tenants, moves, hardening, and the functions that lists and keywords use. */
export function schemaMigrations(cell: string): SchemaMigration[] {
  return [...registryMigrations(cell), searchMigration, placementMigration(cell), hardeningMigration(), gramsMigration, foldMigration()];
}

/** The framework's tables in each tenant's schema; those of a new cell follow them. */
export const frameworkMigrations: readonly TenantMigration[] = [cellMigration, aggregateStoreMigration, sharedResponsesMigration];
