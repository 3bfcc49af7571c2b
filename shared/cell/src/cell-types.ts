import type { AssertionKeys, Logger, Permission } from "@cell/http";
import type { HttpEnv } from "@cell/http/endpoint/router";
import type { Tag } from "@cell/http/openapi/document";
import type { Registry, Rows, TenantDb } from "@cell/postgres";
import type { Hono } from "hono";
import type { AuditDraft } from "./audit/entries.ts";
import type { SealWitness } from "./audit/seal.ts";
import type { Work } from "./commands/command.ts";
import type { CommandResponse } from "./commands/idempotency.ts";
import type { CsvFile, FileLimits } from "./csv/file-limits.ts";
import type { Endpoint, EventDefinition, RequestContext, RequestContextOf, RowOf } from "./http/endpoint.ts";
import type { ListOptions } from "./lists/list-response.ts";
import type { ListRunner } from "./lists/lists.ts";

/** What a cell's OpenAPI document says of it as a whole. */
export interface CellDescription {
  /** Names the cell in assertions, metrics and its registry's schema. */
  name: string;
  title: string;
  description: string;
  /** Its own permissions, besides the framework's. Each route needs one of either. */
  permissions: readonly Permission[];
  /** Which of its permissions each role has. */
  roles: Readonly<Record<string, readonly Permission[]>>;
  /** The tags of its routes, in the order of the documentation. */
  tags: readonly Tag[];
  /** Examples of fields by name, for the document; a field's own example takes precedence. */
  exampleValues?: Readonly<Record<string, unknown>>;
}

export interface CellOptions extends CellDescription {
  registry: Registry;
  assertionKeys: AssertionKeys;
  log: Logger;
  /** Bearer token of the metrics at /metrics; undefined: this port does not serve them. */
  metricsToken?: string | undefined;
  /** True during shutdown: /ready fails. */
  draining(): boolean;
  /** What delays the sealing of audit trails, one sentence each without a tenant's name; shown by /ready. */
  sealingProblems?(): string[];
  /** How many dangerous functions and views the tenants' database logins may use; shown by /ready. */
  openDoors?(): number;
  /** Called after a command of a tenant has committed; wakes the sealer. */
  committed(tenantId: string): void;
  /** What the audit trails are verified against. */
  sealWitness: SealWitness;
  /** Continues the trail of a tenant that was copied here: see `Sealer.adopt`. */
  adoptTrail(tenantId: string): Promise<void>;
  /** Ends the trail of a tenant that was dropped: see `Sealer.end`. */
  endTrail(tenantId: string): Promise<void>;
  /** A tenant accepts writes again, or for the first time here: deferred work continues. */
  resumed(tenantId: string): void;
  /** Default: `fileLimits`. */
  files?: FileLimits;
  /** Time limit of an `isLong` response: gateways time out after 5 s. */
  longResponseMs?: number;
}

/** The only way for a slice to create routes, so that every route has all policies. */
export interface Cell {
  /** Responds with one record or report; `read` returns undefined, or no rows, if there is none. Returning unparsed rows is faster. */
  read<E extends Endpoint>(
    endpoint: E,
    what: string,
    read: (context: RequestContextOf<E>, tenant: TenantDb) => Promise<RowOf<E> | Rows<RowOf<E>> | undefined>,
  ): void;
  /** Responds with a page of a list. */
  list<E extends Endpoint, Row extends object>(endpoint: E, lists: ListRunner<Row>, options?: ListOptions<RequestContextOf<E>, Row>): void;
  /** Carries out a write as one transaction with its claim, audit entries and stored response. */
  command<E extends Endpoint>(
    endpoint: E,
    work: (context: RequestContextOf<E>, ...tx: Parameters<Work<RowOf<E>>>) => ReturnType<Work<RowOf<E>>>,
  ): void;
  /** For handlers that send the response themselves, such as a `file`. */
  stream<E extends Endpoint>(
    endpoint: E,
    response: (context: RequestContextOf<E>, headers: Record<string, string>) => Promise<Response>,
  ): void;
  /** Runs long queries within the time limit. Rejects with TIMEOUT past it; work that has begun still ends, and may be cached. */
  inTime<T>(context: RequestContext, work: (tenant: TenantDb) => Promise<T>): Promise<T>;
  /** Sends a CSV file that is read while it is sent, within the limits of all files. */
  file(context: RequestContext, headers: Record<string, string>, file: CsvFile): Promise<Response>;
  /** Writes audit entries for something that changes no record, such as an export, before anything is sent. */
  record(context: RequestContext, drafts: AuditDraft[]): Promise<void>;
  /** Does work that no response waits for; a rejection is logged. */
  later(what: string, work: () => Promise<void>): void;
  /** Adds the events that the cell posts to its tenants' endpoints to the document. */
  events(events: readonly EventDefinition[]): void;
  /** Number of requests to this process so far. */
  requests(): number;
  /** Receives a file: like a command, but the handler reads the body and returns its digest. */
  upload<E extends Endpoint>(
    endpoint: E,
    receive: (context: RequestContextOf<E>, commit: CommitUpload<RowOf<E>>) => Promise<CommandResponse<RowOf<E>>>,
  ): void;
}

/** Commits the result of an upload under the caller's idempotency key. */
export type CommitUpload<Row extends object> = (bodyDigest: string, work: Work<Row>) => Promise<CommandResponse<Row>>;

export type CellApp = Hono<HttpEnv>;

/** What every cell's process has for its routes. */
export interface CellServices {
  /** What the audit trails are verified against. */
  sealWitness: SealWitness;
}

/**
 * Declares routes. `services` gives what the handlers use of the process: it is called when a request is handled, never while routes are
 * declared, so that the document can be made without a process.
 */
export type Slice<Services = unknown> = (cell: Cell, services: () => Services) => void;
