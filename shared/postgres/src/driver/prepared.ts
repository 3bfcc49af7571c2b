import { LRUCache } from "lru-cache";
import type pg from "pg";
import type { CachedStatement, Query } from "./query.ts";
import { RowsQuery } from "./rows-query.ts";

/** Methods of the driver's connection that its types lack. */
interface Wire {
  parsedStatements: Record<string, string>;
  submittedNamedStatements: Record<string, string>;
  close(message: { type: "S"; name: string }): void;
}

/**
 * The named statements of one connection. A backend never drops one by itself, and there are many combinations of tenant and query: past
 * the limit, the least recently used one is closed. A statement gets its name at its second use.
 */
export class PreparedStatements {
  readonly #wire: Wire;
  readonly #stored: LRUCache<string, CachedStatement>;
  readonly #seen: LRUCache<string, true>;
  readonly #leaving = new Set<string>();

  constructor(client: pg.Client, limit: number) {
    this.#wire = (client as pg.Client & { connection: Wire }).connection;
    this.#stored = new LRUCache({
      max: limit,
      dispose: (_, name, reason) => {
        if (reason === "evict") this.#leaving.add(name);
      },
    });
    this.#seen = new LRUCache({ max: limit * 2 });
  }

  /** The query to send now, with or without a name; `timeoutMs` limits the wait for its response. */
  admit(query: Query, timeoutMs: number): RowsQuery {
    const { name } = query;
    if (name === undefined) return new RowsQuery(query, {}, timeoutMs);
    const known = this.#stored.get(name);
    if (known) return new RowsQuery(query, known, timeoutMs);
    if (!this.#seen.get(name)) {
      this.#seen.set(name, true);
      const { name: _, ...unnamed } = query;
      return new RowsQuery(unnamed, {}, timeoutMs);
    }
    const stored: CachedStatement = {};
    this.#stored.set(name, stored);
    this.#leaving.delete(name);
    this.#closeLeaving();
    return new RowsQuery(query, stored, timeoutMs);
  }

  #closeLeaving(): void {
    const { parsedStatements, submittedNamedStatements } = this.#wire;
    for (const name of this.#leaving) {
      // The driver would record a statement as prepared that was sent but not yet confirmed, even after it was closed.
      if (submittedNamedStatements[name] !== undefined) continue;
      this.#leaving.delete(name);
      if (parsedStatements[name] === undefined) continue;
      delete parsedStatements[name];
      // Its response arrives with the next query's, and the driver skips it.
      this.#wire.close({ type: "S", name });
    }
  }
}
