import { type Condition, likePattern } from "@cell/cell";
import { type RawBuilder, sql } from "kysely";

/**
 * Records whose `search` holds the term. One or two characters, common in Chinese, are no trigram: they are found by their grams, and
 * compared in a way that no index of trigrams can be taken for.
 */
export function keyword(term: string): Condition {
  const lower = term.toLowerCase();
  if (term.length > 2) return { shape: "keyword", values: [likePattern(term)], sql: ([pattern]) => sql<boolean>`search like ${pattern}` };
  const holds = ([given]: RawBuilder<unknown>[]) => sql<boolean>`strpos(search, ${given}::text) > 0`;
  return {
    shape: "short keyword",
    values: [lower, [lower]],
    sql: ([given, grams]) => sql<boolean>`(public.crm_grams(search) @> ${grams}::text[] and ${holds([given as RawBuilder<unknown>])})`,
    holds,
  };
}
