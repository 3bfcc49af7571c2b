import { randomUUID } from "node:crypto";

/** Placeholder for a value that is unique per request. */
export const unique = "{unique}";
/** Placeholder for the version from the previous response. */
export const version = "{version}";

/** A prefix that is unique to a round. */
export function prefix(): string {
  return `${randomUUID().slice(0, 8)}-`;
}

/** The n-th unique value of a round, all of one length; the scripts of wrk make the same. */
export function uniqueValue(issued: number, roundPrefix = prefix()): string {
  return roundPrefix + String(issued).padStart(8, "0");
}

/** A request that is sent repeatedly. */
export interface LoadRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
  /** For updates that follow the version: the record and its version. */
  follows?: { id: string; version: number };
}

export interface Load {
  wrk: string | undefined;
  url: string;
  requests: readonly LoadRequest[];
  connections: number;
  seconds: number;
  /** Where the requests' file may be written. */
  dir: string;
}
