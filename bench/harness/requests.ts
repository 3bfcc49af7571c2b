import { randomUUID } from "node:crypto";

/** Where a request needs something that no other request has. */
export const unique = "{unique}";
/** Where an update names the version that the answer before it gave. */
export const version = "{version}";

/** What makes a round's values its own. */
export function prefix(): string {
  return `${randomUUID().slice(0, 8)}-`;
}

/** The n-th of a round's values, all of one length; the scripts of wrk make the same. */
export function uniqueValue(issued: number, roundPrefix = prefix()): string {
  return roundPrefix + String(issued).padStart(8, "0");
}

/** A request as it is sent over and over. */
export interface LoadRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
  /** For updates that follow the version: the record, and the version that it has. */
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
