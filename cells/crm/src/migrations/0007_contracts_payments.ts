import type { TenantMigration } from "@cell/postgres";

export const contractsPaymentsMigration: TenantMigration = {
  name: "0007_contracts_payments",
  sql: [
    // Each write of a payment updates received_amount under the contract's lock, so that lists need no sum.
    `create table "$tenant".contracts (
      contract_id uuid primary key, customer_id uuid not null references "$tenant".customers,
      opportunity_id uuid references "$tenant".opportunities, number text not null, number_key text not null, name text not null,
      amount numeric(19,4) not null check (amount > 0), currency text not null, status text not null,
      signed_at timestamptz, start_date date, end_date date check (end_date >= start_date),
      received_amount numeric not null default 0 check (received_amount >= 0),
      outstanding_amount numeric not null generated always as (greatest(amount - received_amount, 0)) stored,
      paid_ratio numeric not null generated always as (round(received_amount * 100 / amount, 2)) stored,
      overpaid boolean not null generated always as (received_amount > amount) stored,
      created_at timestamptz not null, updated_at timestamptz not null, deleted_at timestamptz, version int not null,
      search text not null generated always as (lower(number || E'\\n' || name)) stored)`,
    `create unique index contracts_number_key on "$tenant".contracts (number_key) where deleted_at is null`,
    `create index contracts_customer on "$tenant".contracts (customer_id, created_at, contract_id) where deleted_at is null`,
    `create index contracts_opportunity on "$tenant".contracts (opportunity_id) where opportunity_id is not null`,
    `create index contracts_created_at on "$tenant".contracts (created_at, contract_id) where deleted_at is null`,
    `create index contracts_search on "$tenant".contracts using gin (search public.gin_trgm_ops) where deleted_at is null`,
    `create index contracts_grams on "$tenant".contracts using gin (public.crm_grams(search)) where deleted_at is null`,
    `grant select, insert, update on "$tenant".contracts to "$login"`,
    // A sequence never waits and never repeats a number; a failed creation leaves a gap.
    `create sequence "$tenant".contract_numbers`,
    `grant usage on sequence "$tenant".contract_numbers to "$login"`,
    // No foreign key to the customer, which is always the contract's: its check could deadlock with a merge that waits for the contract.
    `create table "$tenant".payments (
      payment_id uuid primary key, contract_id uuid not null references "$tenant".contracts,
      customer_id uuid not null, amount numeric(19,4) not null check (amount > 0), currency text not null,
      paid_at timestamptz not null, method text, reference text, kind text not null check (kind in ('payment', 'refund')),
      status text not null check (status in ('received', 'void')), overpaid boolean not null, notes text,
      created_at timestamptz not null, updated_at timestamptz not null, version int not null,
      search text not null generated always as (lower(coalesce(reference, '') || E'\\n' || coalesce(method, '') || E'\\n' || coalesce(notes, ''))) stored)`,
    // An index-only scan gives what a contract has received.
    `create index payments_received on "$tenant".payments (contract_id) include (kind, amount) where status = 'received'`,
    `create unique index payments_reference_key on "$tenant".payments (contract_id, reference) where status = 'received'`,
    `create index payments_contract on "$tenant".payments (contract_id, created_at, payment_id)`,
    `create index payments_customer on "$tenant".payments (customer_id, created_at, payment_id)`,
    `create index payments_paid_at on "$tenant".payments (paid_at, payment_id)`,
    `create index payments_created_at on "$tenant".payments (created_at, payment_id)`,
    `create index payments_search on "$tenant".payments using gin (search public.gin_trgm_ops)`,
    `create index payments_grams on "$tenant".payments using gin (public.crm_grams(search))`,
    `grant select, insert, update on "$tenant".payments to "$login"`,
  ],
};
