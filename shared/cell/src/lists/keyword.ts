import { type RawBuilder, sql } from "kysely";
import type { Condition } from "./conditions.ts";

/**
 * Records whose `search` column contains the term, folded like that column. Trigrams need runs of three letters or digits; shorter terms,
 * common in Chinese, and terms of blanks and signs are found by pairs of characters, with a comparison that the planner cannot use a
 * trigram index for.
 */
export function keyword(folded: string): Condition {
  if (/[\p{L}\p{N}]{3}/u.test(folded))
    return { cacheKey: "keyword", values: [likePattern(folded)], sql: ([pattern]) => sql<boolean>`search like ${pattern}` };
  const letters = [...folded];
  const grams = letters.length === 1 ? letters : letters.slice(1).map((letter, index) => `${letters[index]}${letter}`);
  const matchesRow = ([given]: RawBuilder<unknown>[]) => sql<boolean>`strpos(search, ${given}::text) > 0`;
  return {
    cacheKey: "keyword in pairs",
    values: [folded, grams],
    sql: ([given, pairs]) => sql<boolean>`(public.crm_grams(search) @> ${pairs}::text[] and ${matchesRow([given as RawBuilder<unknown>])})`,
    matchesRow,
  };
}

/** A substring as a LIKE pattern. */
export function likePattern(folded: string): string {
  return `%${folded.replace(/[\\%_]/g, "\\$&")}%`;
}
