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
  /** The tags of its routes, in the order in which people need them. */
  tags: readonly Tag[];
  /** Examples of fields by their names, for the document; a field's own example is taken first. */
  exampleValues?: Readonly<Record<string, unknown>>;
  registry: Registry;
  assertionKeys: AssertionKeys;
  log: Logger;
  /** The bearer token of the process's figures at /metrics; undefined: this port does not have them. */
  metricsToken?: string | undefined;
  /** True while the process shuts down: /ready says no. */
  draining(): boolean;
  /** What keeps audit trails from being sealed in time, a sentence each that names no tenant: /ready tells it. */
  sealingProblems?(): string[];
  /** How much the tenants' database logins may use that leads out of their bounds: /ready tells it. */
  openDoors?(): number;
  /** After a command has committed, for a tenant: the sealer is woken here. */
  committed(tenantId: string): void;
  /** What the audit trails are verified against. */
  sealWitness: SealWitness;
  /** Lets the trail of a tenant go on that was copied here: see `Sealer.adopt`. */
  adoptTrail(tenantId: string): Promise<void>;
  /** Says that the trail of a tenant has ended that was dropped: see `Sealer.end`. */
  endTrail(tenantId: string): Promise<void>;
  /** A tenant takes writes again, or for the first time here: what was put off goes on. */
  resumed(tenantId: string): void;
  /** By default `fileLimits`. */
  files?: FileLimits;
  /** How long an answer that `isLong` may take: gateways give up after 5 s. */
  longResponseMs?: number;
}

/** How a slice makes its routes. There is no other way, so that none can forget a policy. */
export interface Cell {
  /** Answers one record or report; `read` returns undefined, or no rows, where there is nothing to see. A row as it came is the faster way. */
  read<E extends Endpoint>(
    endpoint: E,
    what: string,
    read: (context: RequestContextOf<E>, tenant: TenantDb) => Promise<RowOf<E> | Rows<RowOf<E>> | undefined>,
  ): void;
  /** Answers a page of a list. */
  list<E extends Endpoint, Row extends object>(endpoint: E, lists: ListRunner<Row>, options?: ListOptions<RequestContextOf<E>, Row>): void;
  /** Carries out a write as one transaction with its claim, audit and kept answer. */
  command<E extends Endpoint>(
    endpoint: E,
    work: (context: RequestContextOf<E>, ...tx: Parameters<Work<RowOf<E>>>) => ReturnType<Work<RowOf<E>>>,
  ): void;
  /** Answers what the handler sends itself, such as a `file`. */
  stream<E extends Endpoint>(
    endpoint: E,
    response: (context: RequestContextOf<E>, headers: Record<string, string>) => Promise<Response>,
  ): void;
  /** What long queries come to. Rejects with TIMEOUT past the time for an answer; what has been begun still ends, and may be remembered. */
  inTime<T>(context: RequestContext, work: (tenant: TenantDb) => Promise<T>): Promise<T>;
  /** Sends a CSV file that is read while it is sent, within the limits that hold for all of them. */
  file(context: RequestContext, headers: Record<string, string>, file: CsvFile): Promise<Response>;
  /** Writes audit entries of what changes no record, such as an export: before anything leaves. */
  record(context: RequestContext, drafts: AuditDraft[]): Promise<void>;
  /** Does work that no answer waits for; what it rejects with is logged. */
  later(what: string, work: () => Promise<void>): void;
  /** Puts events into the document that the cell posts to its tenants' endpoints. */
  events(events: readonly EventDefinition[]): void;
  /** How many requests have come to this process so far. */
  requests(): number;
  /** Takes a file: like a command, but the handler reads the body and says what its digest is. */
  upload<E extends Endpoint>(
    endpoint: E,
    receive: (context: RequestContextOf<E>, commit: CommitUpload<RowOf<E>>) => Promise<CommandResponse<RowOf<E>>>,
  ): void;
}

/** Commits what an upload came to, under the caller's key. */
export type CommitUpload<Row extends object> = (bodyDigest: string, work: Work<Row>) => Promise<CommandResponse<Row>>;

export type CellApp = Hono<CellEnv>;

export interface RunningCell {
  app: CellApp;
  /** The OpenAPI 3.1 document; what makes it is loaded with the first call. */
  document(): Promise<Document>;
  /** Every permission that a tenant's user can have here. */
  permissions: readonly Permission[];
  metrics: HttpMetrics;
}

/** A process's application: the slices' routes with all the policies, health, metrics, documents and the gateway's own routes. */
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

/** The server of the committed document; a process that shows it names its own. */
function npmStart(cell: string) {
  return { url: `http://127.0.0.1:8080/api/v1/${cell}`, description: "What npm start serves" };
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];

function allowedMethods(app: CellApp, path: string): string[] {
  return methods.filter((method) => app.router.match(method, path)[0].length > 0);
}
