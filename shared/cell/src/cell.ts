import {
  type AssertionKeys,
  type CellDeclaration,
  createHttpMetrics,
  frameworkPermissions,
  type HttpMetrics,
  type Logger,
  methodNotAllowed,
  type Permission,
} from "@cell/http";
import type { Document, Tag } from "@cell/http/openapi/document";
import type { Registry, Rows, TenantDb } from "@cell/postgres";
import { Hono } from "hono";
import type { AuditDraft } from "./audit/entries.ts";
import type { SealWitness } from "./audit/seal.ts";
import type { Work } from "./commands/command.ts";
import type { CommandResponse } from "./commands/idempotency.ts";
import type { CsvFile, FileLimits } from "./csv/file-limits.ts";
import { CellRouter } from "./http/cell-router.ts";
import { type Register, routesOf } from "./http/cell-routes.ts";
import { docsRoutes } from "./http/docs.ts";
import type { CellEnv, Endpoint, EventDefinition, RequestContext, RequestContextOf, RowOf } from "./http/endpoint.ts";
import { Handlers, requestIdOf } from "./http/handlers.ts";
import type { DescribedEndpoint } from "./http/openapi.ts";
import { operationalRoutes, prometheusRoute } from "./http/operational-routes.ts";
import type { ListOptions } from "./lists/list-response.ts";
import type { ListRunner } from "./lists/lists.ts";

export interface CellOptions {
  /** Names the cell in assertions, metrics and its registry's schema. */
  name: string;
  title: string;
  description: string;
  version: string;
  /** Its own permissions, besides the framework's. Each route needs one of either. */
  permissions: readonly Permission[];
  /** Which of its permissions each role has. */
  roles: Readonly<Record<string, readonly Permission[]>>;
  /** The tags of its routes, in the order of the documentation. */
  tags: readonly Tag[];
  /** Examples of fields by name, for the document; a field's own example takes precedence. */
  exampleValues?: Readonly<Record<string, unknown>>;
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

export type CellApp = Hono<CellEnv>;

export interface RunningCell {
  app: CellApp;
  /** The OpenAPI 3.1 document; its generator is loaded at the first call. */
  document(): Promise<Document>;
  /** Every permission that a tenant's user can have here. */
  permissions: readonly Permission[];
  metrics: HttpMetrics;
}

/** A process's application: the slices' routes with all policies, health, metrics, documents and the gateway's own routes. */
export function createCell(options: CellOptions, slices: readonly ((cell: Cell) => void)[]): RunningCell {
  const app: CellApp = new Hono({ strict: false, router: new CellRouter() });
  const metrics = createHttpMetrics();
  const handlers = new Handlers(options, metrics);
  const endpoints: DescribedEndpoint[] = [];
  const events: EventDefinition[] = [];
  const register: Register = (endpoint, handle, listing) => {
    endpoints.push({ endpoint, listing });
    const path = endpoint.path.replace(/\{(\w+)\}/g, ":$1");
    app.on(endpoint.method.toUpperCase(), path, (c) => handlers.handle(c, endpoint, handle));
  };
  if (options.metricsToken !== undefined) prometheusRoute(app, metrics, options.metricsToken);
  const cell: Cell = {
    ...routesOf(options, () => metrics.begun, register),
    events: (given) => void events.push(...given),
  };
  for (const slice of slices) slice(cell);
  const permissions: readonly Permission[] = [...options.permissions, ...frameworkPermissions];
  for (const { endpoint } of endpoints) {
    if (endpoint.permission === null || permissions.includes(endpoint.permission)) continue;
    throw new Error(`${endpoint.method} ${endpoint.path} needs ${endpoint.permission}, which the cell does not declare`);
  }
  const declaration: CellDeclaration = {
    permissions: options.permissions,
    roles: options.roles,
    routes: endpoints.map(({ endpoint: { method, path, gateway } }) => ({
      method: method.toUpperCase(),
      path,
      ...(gateway ? { policy: gateway } : {}),
    })),
  };

  async function document(): Promise<Document> {
    const { documentOf } = await import("./http/openapi.ts");
    const { title, version, description, name, tags, exampleValues = {} } = options;
    return documentOf(endpoints, events, { title, version, description, tags, exampleValues, servers: [npmStart(name)] });
  }
  docsRoutes(app, document, options.title);
  operationalRoutes(app, options, declaration);
  app.notFound((c) => handlers.refuse(c, methodNotAllowed(allowedMethods(app, c.req.path)), requestIdOf(c), "unknown", performance.now()));
  app.onError((error, c) => handlers.refuse(c, error, requestIdOf(c), "unknown", performance.now()));
  return { app, document, permissions, metrics };
}

/** The server in the committed document; a running process names its own. */
function npmStart(cell: string) {
  return { url: `http://127.0.0.1:8080/api/v1/${cell}`, description: "npm start" };
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];

function allowedMethods(app: CellApp, path: string): string[] {
  return methods.filter((method) => app.router.match(method, path)[0].length > 0);
}
