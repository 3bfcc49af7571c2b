import type { SchemaMigration } from "@cell/postgres";

/** Functions in `public` that the generated columns of keyword searches use. */
export const searchMigration: SchemaMigration = {
  name: "0002_search",
  sql: [
    // Immutable, unlike array_to_string: for generated columns.
    `create or replace function public.crm_join(words text[]) returns text language sql immutable parallel safe as
      $$ select coalesce(string_agg(word, E'\\n' order by position), '') from unnest(words) with ordinality as words(word, position) $$`,
    // Terms of one or two characters, which have no trigrams and are common in Chinese. Linear in the text's length, unlike substr().
    `create or replace function public.crm_grams(searched text) returns text[] language plpgsql immutable parallel safe as $$
      declare
        letters text[] := string_to_array(translate(searched, E' \\n\\r\\t', ''), null);
      begin
        return letters || array(select one || other from unnest(letters, letters[2:]) as pairs(one, other) where other is not null);
      end $$`,
  ],
};

/** Pairs of characters include blanks: `keyword` needs it. */
export const gramsMigration: SchemaMigration = {
  name: "grams_with_spaces",
  sql: [
    // Only adjacent characters of the text: a term of two characters is in a text exactly if it is among its grams.
    `create or replace function public.crm_grams(searched text) returns text[] language plpgsql immutable parallel safe as $$
      declare
        letters text[] := string_to_array(searched, null);
      begin
        return letters || array(select one || other from unnest(letters, letters[2:]) as pairs(one, other) where other is not null);
      end $$`,
  ],
};
