import type { TenantMigration } from "@cell/postgres";

const live = "where deleted_at is null";

/** The content of each table's `search`, and the rows in its indexes. */
const searches = [
  {
    table: "customers",
    text: "name || E'\\n' || coalesce(contact_name, '') || E'\\n' || coalesce(industry, '') || E'\\n' || public.crm_join(tags) || E'\\n' || coalesce(notes, '')",
    rows: live,
  },
  { table: "contacts", text: "name || E'\\n' || coalesce(title, '') || E'\\n' || coalesce(notes, '')", rows: live },
  { table: "opportunities", text: "name || E'\\n' || coalesce(lost_reason, '')", rows: live },
  { table: "contracts", text: "number || E'\\n' || name", rows: live },
  {
    table: "payments",
    text: "coalesce(reference, '') || E'\\n' || coalesce(method, '') || E'\\n' || coalesce(notes, '')",
    rows: "",
  },
];

/**
 * Folds searched texts by the same function as search terms. Phone numbers and e-mail addresses are found in any form. Lookups are counted
 * per user.
 */
export const foldedSearchMigration: TenantMigration = {
  name: "0019_folded_search",
  sql: [
    // PostgreSQL 16 cannot change a generated column's expression: the column and its indexes are dropped and added.
    ...searches.flatMap(({ table, text, rows }) => [
      `alter table "$tenant".${table} drop column search,
        add column search text not null generated always as (public.cell_fold(${text})) stored`,
      `create index ${table}_search on "$tenant".${table} using gin (search public.gin_trgm_ops) ${rows}`,
      `create index ${table}_grams on "$tenant".${table} using gin (public.crm_grams(search)) ${rows}`,
    ]),
    ...[
      { table: "customers", phone: "contact_phone", email: "contact_email" },
      { table: "contacts", phone: "phone", email: "email" },
    ].flatMap(({ table, phone, email }) => [
      `create index ${table}_phone on "$tenant".${table} (public.cell_phone(${phone})) ${live} and ${phone} is not null`,
      `create index ${table}_email on "$tenant".${table} (public.cell_fold(${email})) ${live} and ${email} is not null`,
    ]),
    `create table "$tenant".lookups (user_id text primary key, times timestamptz[] not null)`,
    `grant select, insert, update on "$tenant".lookups to "$login"`,
  ],
};
