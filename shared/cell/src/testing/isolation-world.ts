import { randomUUID } from "node:crypto";
import type { TenantLogins } from "@cell/postgres";
import type { StartedTestCell } from "./start-test-cell.ts";
import type { TestClient, TestResponse } from "./test-cell.ts";

/** One tenant's records, with an id by collection path; all names and texts contain the mark. */
export interface IsolationFixture {
  mark: string;
  /** A word to search for: unlike the mark, a searcher's own audit trail may contain it. */
  word: string;
  /** By collection path, such as `/customers`; of a route with a second id by that id's placeholder, such as `{deliveryId}`. */
  ids: Record<string, string>;
  /** Cursors of lists, which must not work for other tenants. */
  cursors: Record<string, string>;
  /** A used request id and its caller. */
  requestId: string;
  ownerId: string;
}

/** What a cell brings to `describeIsolation`. */
export interface IsolationWorld<Services extends object> {
  start(logins: TenantLogins): Promise<StartedTestCell<Services>>;
  /** Fills a tenant with one record of each kind, and a second one for each cursor. */
  populate(client: TestClient, mark: string): Promise<IsolationFixture>;
  /** A write of a record with this mark. */
  write(mark: string): { path: string; body: object };
  /** Paths whose responses must not change when another tenant writes; `ids`: the caller's own. */
  looks(ids: IsolationFixture["ids"]): readonly string[];
  /** The shared login's name. */
  sharedLogin: string;
  /** Statements to expect, at least, of a request to each route that reads. */
  leastStatements: number;
  /** Query parameters that choose a form and no record, besides the framework's own. */
  formalParameters?: readonly string[];
  /** The collection that a field refers to, where its name does not say so. */
  collections?: Readonly<Record<string, string>>;
  /** Values of fields in sample bodies, where their examples do not fit the records of the world. */
  sample?: Readonly<Record<string, string>>;
  /** Ends work in the background that would change the other tenant's tables. */
  settle?(cell: StartedTestCell<Services>): Promise<void>;
}

/** What tests of a cell's own share with those of `describeIsolation`. */
export interface IsolationScope<Services extends object> {
  cell: StartedTestCell<Services>;
  mine: IsolationFixture;
  theirs: IsolationFixture;
  theirTenant: string;
  /** A caller of `mine`. */
  caller: TestClient;
  /** Sends a request; the response must contain nothing of the other tenant except what the request named. */
  ask(method: string, path: string, request?: object, client?: TestClient): Promise<TestResponse>;
}

/** The collection's path of a route with an id. */
export function collectionOf(path: string): string {
  return path.slice(0, path.indexOf("/{"));
}

/** The path of the collection that a field or parameter of this name refers to. */
export function referredCollection(name: string): string {
  return `/${name.replace(/Ids?$/, "").replace(/y$/, "ie")}s`;
}

/** A response without what differs between requests: its request id, times, and the caller's own input. */
export function comparable({ status, text }: TestResponse, ...named: string[]): unknown {
  let plain = text.replace(/"requestId":"[^"]*"/g, "").replace(/\d{4}-\d\d-\d\dT[\d:.%A]+Z/g, "time");
  for (const id of named.filter((given) => given !== "")) plain = plain.replaceAll(id, "named");
  return { status, text: plain };
}

/** An id that no record has. */
export const nobody = (): string => randomUUID();
