import { registryMigrations, type SchemaMigration } from "@cell/postgres";

/** The cell's own schema, and the functions in `public` that the tenants' tables use. */
export const cellMigrations: SchemaMigration[] = [
  ...registryMigrations("crm"),
  {
    name: "0002_search",
    sql: [
      // Immutable, unlike array_to_string: for generated columns.
      `create or replace function public.crm_join(words text[]) returns text language sql immutable parallel safe as
        $$ select coalesce(string_agg(word, E'\\n' order by position), '') from unnest(words) with ordinality as words(word, position) $$`,
      // The one- and two-character terms, which trigrams do not reach: common in Chinese.
      `create or replace function public.crm_grams(searched text) returns text[] language sql immutable parallel safe as
        $$ select coalesce(array_agg(distinct gram), '{}') from generate_series(1, length(searched)) as position,
             lateral (values (substr(searched, position, 1)), (substr(searched, position, 2))) as grams(gram)
           where gram !~ '\\s' $$`,
    ],
  },
];
