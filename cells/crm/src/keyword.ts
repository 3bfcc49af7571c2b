import { type Condition, likePattern } from "@cell/cell";
import { sql } from "kysely";

/** Records whose `search` holds the term. One or two characters, common in Chinese, are no trigram: they are found by their grams. */
export function keyword(term: string): Condition {
  const isShort = term.length <= 2;
  return {
    shape: isShort ? "short keyword" : "keyword",
    values: isShort ? [likePattern(term), [term.toLowerCase()]] : [likePattern(term)],
    sql: ([pattern, gram]) =>
      gram ? sql<boolean>`(public.crm_grams(search) @> ${gram}::text[] and search like ${pattern})` : sql<boolean>`search like ${pattern}`,
  };
}
