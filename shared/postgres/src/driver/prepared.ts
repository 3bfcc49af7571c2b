import { LRUCache } from "lru-cache";
import type pg from "pg";
import type { RowDescription } from "./rows.ts";
import { RowsQuery } from "./rows-query.ts";

/** A query as it is sent: by the extended protocol alone, which takes one statement and no more. */
export type Query = pg.QueryConfig & {
  queryMode: "extended";
  /** How many bytes of rows are taken in at most; further ones are let go. */
  maxBytes?: number | undefined;
};

/** What a connection knows of a statement. */
export interface CachedStatement {
  /** What its rows look like, as soon as they have been described. */
  rowDescription?: RowDescription;
}

/** What the driver's connection can do and its types do not name. */
interface Wire {
  parsedStatements: Record<string, string>;
  submittedNamedStatements: Record<string, string>;
  close(message: { type: "S"; name: string }): void;
}

/**
 * The statements that one connection keeps under a name. A backend never forgets one by itself, and tenants × shapes are many: past the
 * limit, the one unused for the longest is closed; one that was asked for a single time has no name yet.
 */
export class PreparedStatements {
  readonly #wire: Wire;
  readonly #stored: LRUCache<string, CachedStatement>;
  readonly #seen: LRUCache<string, true>;
  readonly #leaving = new Set<string>();

  constructor(client: pg.Client, limit: number) {
    this.#wire = (client as unknown as { connection: Wire }).connection;
    this.#stored = new LRUCache({
      max: limit,
      dispose: (_, name, reason) => {
        if (reason === "evict") this.#leaving.add(name);
      },
    });
    this.#seen = new LRUCache({ max: limit * 2 });
  }

  /** The query as it is to be sent right now, with its name or without; after `timeoutMs` no answer is waited for any more. */
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
      // What was sent and not yet confirmed would be noted as kept after its end.
      if (submittedNamedStatements[name] !== undefined) continue;
      this.#leaving.delete(name);
      if (parsedStatements[name] === undefined) continue;
      delete parsedStatements[name];
      // Its answer comes with the next query's, and the driver passes it over.
      this.#wire.close({ type: "S", name });
    }
  }
}
