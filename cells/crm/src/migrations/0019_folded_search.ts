import type { TenantMigration } from "@cell/postgres";

const live = "where deleted_at is null";

/** What each table's `search` holds, and of which of its rows the indexes know. */
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
 * What is searched is folded by the function that folds the terms. Phone numbers and e-mail addresses are found whatever their form. How often
 * each user looked one up is counted.
 */
export const foldedSearchMigration: TenantMigration = {
  name: "0019_folded_search",
  sql: [
    // PostgreSQL 16 cannot change a generated column's expression: the column is made anew, and its indexes with it.
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
