export interface LookupsTable {
  userId: string;
  /** When the user looked something up, of the last minute at least. */
  times: string[];
}
