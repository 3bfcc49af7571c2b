import type pg from "pg";
import type { RowDescription } from "./rows.ts";

/** A query for the extended protocol, which takes exactly one statement. */
export type Query = pg.QueryConfig & {
  queryMode: "extended";
  /** Limit on the bytes of rows; further rows are dropped. */
  maxBytes?: number | undefined;
};

/** What a connection knows of a prepared statement. */
export interface CachedStatement {
  /** Set once the rows have been described. */
  rowDescription?: RowDescription;
}
