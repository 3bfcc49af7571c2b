import type { Rows } from "@cell/postgres";
import { LRUCache } from "lru-cache";
import { countedAtMost, countMargin, type KeywordStrategy, scanSample } from "./list-queries.ts";

/** Up to this many matches, the keyword's index is the faster strategy. */
const rareThreshold = 1_000;
/** If more than `among` of `scanSample` records match, matches are counted by scanning, up to `scanned` records. */
const frequentThreshold = { among: scanSample / 5, scanned: 80_000 };

/**
 * Chooses how a keyword's matches are found. A frequent keyword fills a page from the latest records, and a scan counts up to the bound; for
 * a rare one the index is faster. Which one a keyword is, the results tell.
 */
export class KeywordSearch {
  /** Questions with few matches at the last request. */
  readonly #rare = new LRUCache<string, true>({ max: 10_000 });

  /** Reads the rows of a page: from the latest records unless the question is known to have few matches, then from all that match. */
  async rows<Row>(question: string, wanted: number, read: (strategy: KeywordStrategy) => Promise<Rows<Row>>): Promise<Rows<Row>> {
    const latest = this.#rare.has(question) ? undefined : await read("latest");
    return latest && (latest.length === wanted || latest.isCut) ? latest : read("matches");
  }

  /** Remembers whether a question has few matches. */
  observe(question: string, total: number): void {
    if (total <= rareThreshold) this.#rare.set(question, true);
    else this.#rare.delete(question);
  }

  /** The count of a frequent keyword, past the bound of a total; undefined if an index has to count. */
  async scannedTotal(countWithin: (scanned: number) => Promise<number>): Promise<number | undefined> {
    if ((await countWithin(scanSample)) <= frequentThreshold.among) return undefined;
    const total = await countWithin(frequentThreshold.scanned);
    return total > countedAtMost + countMargin ? total : undefined;
  }
}
