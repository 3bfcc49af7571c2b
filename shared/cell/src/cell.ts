import {
  type AssertionKeys,
  abortSent,
  createHttpMetrics,
  type HttpMetrics,
  type Logger,
  methodNotAllowed,
  newRequestId,
  problemBody,
  readRequestId,
  toProblem,
  verifyAssertion,
} from "@cell/http";
import { assertCurrent, databaseProblem, type Registry, type TenantDb } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import type { HttpBindings } from "@hono/node-server";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { type AuditDraft, auditEntry } from "./audit.ts";
import { readJson } from "./body.ts";
import { type CommandOptions, command, type Work } from "./command.ts";
import { docsRoutes } from "./docs.ts";
import {
  type Call,
  type CallOf,
  type Endpoint,
  parseBody,
  parseIfMatch,
  parseParams,
  parseQuery,
  type RowOf,
  requirePermission,
} from "./endpoint.ts";
import type { ListQuery, Lists } from "./listing.ts";
import { clearance } from "./masking.ts";
import { describe, documentOf } from "./openapi.ts";
import { answerList, type ListOptions } from "./reveal.ts";
import { settingsOf } from "./settings.ts";

export interface CellOptions {
  /** Names the cell in assertions, metrics and its registry's schema. */
  name: string;
  title: string;
  description: string;
  version: string;
  registry: Registry;
  assertionKeys: AssertionKeys;
  log: Logger;
  /** True while the process shuts down: /ready says no. */
  draining(): boolean;
  /** After a command has committed, for a tenant: the sealer is woken here. */
  committed(tenantId: string): void;
}

/** How a slice makes its routes. There is no other way, so that none can forget a policy. */
export interface Cell {
  /** Answers one record or report; `read` returns undefined where there is nothing to see. */
  read<E extends Endpoint>(endpoint: E, what: string, read: (call: CallOf<E>, tenant: TenantDb) => Promise<RowOf<E> | undefined>): void;
  /** Answers a page of a list. */
  list<E extends Endpoint, Row extends object>(endpoint: E, lists: Lists<Row>, options?: ListOptions<CallOf<E>, Row>): void;
  /** Carries out a write as one transaction with its claim, audit and kept answer. */
  command<E extends Endpoint>(endpoint: E, work: (call: CallOf<E>, ...tx: Parameters<Work<RowOf<E>>>) => ReturnType<Work<RowOf<E>>>): void;
  /** Answers a stream of the handler's own making, such as a CSV file. */
  stream<E extends Endpoint>(endpoint: E, answer: (call: CallOf<E>, headers: Record<string, string>) => Promise<Response>): void;
  /** Writes audit entries of what changes no record, such as an export: before anything leaves. */
  record(call: Call, drafts: AuditDraft[]): Promise<void>;
  /** Takes a file: like a command, but the handler reads the body and says what its digest is. */
  upload<E extends Endpoint>(
    endpoint: E,
    receive: (call: CallOf<E>, commit: CommitUpload<RowOf<E>>) => Promise<CommandAnswer<RowOf<E>>>,
  ): void;
}

/** Commits what an upload came to, under the caller's key. */
export type CommitUpload<Row extends object> = (bodyDigest: string, work: Work<Row>) => Promise<CommandAnswer<Row>>;

export interface CommandAnswer<Row extends object> {
  status: number;
  body: Row;
  replayed: boolean;
}

export interface RunningCell {
  app: OpenAPIHono<{ Bindings: HttpBindings }>;
  document: object;
  metrics: HttpMetrics;
}

/** A process's application: the slices' routes with all the policies, health, metrics, documents and the gateway's own routes. */
export function createCell(options: CellOptions, slices: readonly ((cell: Cell) => void)[]): RunningCell {
  const app = new OpenAPIHono<{ Bindings: HttpBindings }>({ strict: false });
  const metrics = createHttpMetrics();
  const handlers = new Handlers(options, metrics);
  const register = (endpoint: Endpoint, handle: (call: Call, headers: Record<string, string>) => Promise<Response>) => {
    describe(app as unknown as OpenAPIHono, endpoint);
    const path = endpoint.path.replace(/\{(\w+)\}/g, ":$1");
    app.on(endpoint.method.toUpperCase(), path, (c) => handlers.handle(c, endpoint, handle));
  };
  prometheusRoute(app, metrics);
  const cell = routesOf(options, register);
  for (const slice of slices) slice(cell);

  const document = documentOf(app as unknown as OpenAPIHono, {
    title: options.title,
    version: options.version,
    description: options.description,
    servers: [{ url: `/api/v1/${options.name}` }],
  });
  docsRoutes(app, document, options.title);
  operationalRoutes(app, options);
  app.notFound((c) => handlers.refuse(c, methodNotAllowed(allowedMethods(app, c.req.path)), requestIdOf(c), "unknown", performance.now()));
  app.onError((error, c) => handlers.refuse(c, error, requestIdOf(c), "unknown", performance.now()));
  return { app, document, metrics };
}

type Register = (endpoint: Endpoint, handle: (call: Call, headers: Record<string, string>) => Promise<Response>) => void;

function routesOf({ committed }: CellOptions, register: Register): Cell {
  const record = async (call: Call, drafts: AuditDraft[]): Promise<void> => {
    const entries = drafts.map((draft) => auditEntry(call, draft));
    await call.tenant.write((session) => session.commit(undefined, [], entries));
    committed(call.tenant.tenantId);
  };
  return {
    record,
    read(endpoint, what, read) {
      register(endpoint, async (call, headers) => {
        const row = await read(call as never, call.tenant.reader());
        if (!row) throw new Problem("NOT_FOUND", `${what} not found`);
        if (endpoint.versioned) {
          const tag = etag(row);
          headers.etag = tag;
          if (call.context.req.header("if-none-match") === tag) return new Response(null, { status: 304, headers });
        }
        return json(endpoint.answer.present(row, clearance(call.caller, "detail"), call.tenant.tenantId), endpoint.status, headers);
      });
    },
    list(endpoint, lists, listOptions = {}) {
      register(endpoint, async (call, headers) => {
        const streamed = await listOptions.stream?.(call as never, headers);
        if (streamed) return streamed;
        const body = await answerList(call as Call<unknown, ListQuery, unknown>, lists, listOptions as ListOptions<never, never>, record);
        return json(body, 200, headers);
      });
    },
    command(endpoint, work) {
      register(endpoint, async (call, headers) => {
        const result = await command<never>(
          call,
          endpoint.answer as never,
          await commandOptions(call, endpoint),
          (tx) => work(call as never, tx) as never,
        );
        return answerCommand(call, endpoint, result, headers, committed);
      });
    },
    stream(endpoint, answer) {
      register(endpoint, (call, headers) => answer(call as never, headers));
    },
    upload(endpoint, receive) {
      register(endpoint, async (call, headers) => {
        const result = await receive(call as never, async (bodyDigest, work) =>
          command<never>(call, endpoint.answer as never, { ...(await commandOptions(call, endpoint)), bodyDigest }, work as never),
        );
        return answerCommand(call, endpoint, result, headers, committed);
      });
    },
  };
}

async function commandOptions(call: Call, endpoint: Endpoint): Promise<CommandOptions> {
  const { status } = endpoint;
  // DELETE is idempotent by itself: a request id only correlates there.
  if (endpoint.method === "delete") return { key: undefined, rejectRepeats: false, status };
  const settings = await settingsOf(call.tenant);
  const key = idempotencyKey(call);
  if (key === undefined && settings.requireRequestId === true) {
    throw badField("X-Request-ID", "REQUIRED", "is required by this tenant, so that no retry makes a thing twice");
  }
  const mode = call.context.req.header("x-idempotency-mode");
  if (mode !== undefined && mode !== "reject" && mode !== "replay")
    throw badField("X-Idempotency-Mode", "INVALID_ENUM", "must be replay or reject");
  return { key, rejectRepeats: (mode ?? settings.idempotencyMode) === "reject", status, turn: turnOf(call, endpoint) };
}

function turnOf({ body }: Call, { turn }: Endpoint): string | undefined {
  return turn === undefined ? undefined : (body as Record<string, string>)[turn];
}

/** The caller's key: `Idempotency-Key`, else its X-Request-ID. An id that the gateway made is none. */
function idempotencyKey(call: Call): string | undefined {
  return (
    readRequestId("Idempotency-Key", call.context.req.header("idempotency-key")) ??
    (call.context.get("requestIdIsKey") === true ? call.requestId : undefined)
  );
}

function answerCommand(
  call: Call,
  endpoint: Endpoint,
  result: CommandAnswer<object>,
  headers: Record<string, string>,
  committed: (tenantId: string) => void,
): Response {
  if (result.replayed) headers["idempotency-replayed"] = "true";
  else committed(call.tenant.tenantId);
  if (endpoint.versioned && "version" in result.body) headers.etag = etag(result.body);
  return json(endpoint.answer.present(result.body, clearance(call.caller, "list"), call.tenant.tenantId), result.status, headers);
}

function etag(row: object): string {
  return `"${(row as { version?: number }).version}"`;
}

function json(body: object, status: number, headers: Record<string, string>): Response {
  return new Response(JSON.stringify(body), { status, headers });
}

/** What happens around every route's handler, in this order: request id, assertion, tenant, permission, validation; then the answer or the refusal. */
class Handlers {
  readonly #options: CellOptions;
  readonly #metrics: HttpMetrics;

  constructor(options: CellOptions, metrics: HttpMetrics) {
    this.#options = options;
    this.#metrics = metrics;
  }

  async handle(
    c: Context,
    endpoint: Endpoint,
    handle: (call: Call, headers: Record<string, string>) => Promise<Response>,
  ): Promise<Response> {
    const startedAt = performance.now();
    this.#metrics.started();
    let requestId = newRequestIdLater;
    try {
      requestId = readRequestId("X-Request-ID", c.req.header("x-request-id")) ?? newRequestIdLater;
      const call = await this.#call(c, endpoint, requestId);
      const response = await handle(call, answerHeaders(requestId));
      this.#finished(c, requestId, endpoint.path, response.status, startedAt);
      return response;
    } catch (error) {
      return this.#refused(c, error, requestId === newRequestIdLater ? newRequestId() : requestId, endpoint.path, startedAt);
    }
  }

  /** The answer to a request that no route takes. */
  refuse(c: Context, error: unknown, requestId: string, route: string, startedAt: number): Response {
    this.#metrics.started();
    return this.#refused(c, error, requestId, route, startedAt);
  }

  #refused(c: Context, error: unknown, requestId: string, route: string, startedAt: number): Response {
    const problem = toProblem(databaseProblem(error));
    if (problem.code === "INTERNAL") this.#options.log.error({ requestId, route, err: problem.cause ?? problem }, problem.message);
    else if (problem.status >= 500)
      this.#options.log.warn({ requestId, route, code: problem.code, cause: String(problem.cause ?? "") }, problem.message);
    this.#finished(c, requestId, route, problem.status, startedAt);
    const cut = c.env?.outgoing && abortSent(c.env.outgoing);
    if (cut) return cut;
    return new Response(problemBody(problem, requestId), {
      status: problem.status,
      headers: { ...answerHeaders(requestId), ...problem.headers },
    });
  }

  #finished(c: Context, requestId: string, route: string, status: number, startedAt: number): void {
    const ms = performance.now() - startedAt;
    this.#metrics.finished(c.req.method, route, status, ms / 1000);
    if (this.#options.log.isLevelEnabled("debug"))
      this.#options.log.debug({ requestId, method: c.req.method, route, status, ms }, "answered");
  }

  async #call(c: Context, endpoint: Endpoint, requestId: string): Promise<Call> {
    const { assertionKeys, name, registry } = this.#options;
    const nowMs = Date.now();
    const { principal, requestIdIsKey } = verifyAssertion(
      assertionKeys,
      name,
      c.req.header("x-cell-assertion"),
      requestId,
      Math.floor(nowMs / 1000),
    );
    const tenantHeader = c.req.header("x-tenant-id");
    if (tenantHeader !== undefined && tenantHeader !== principal.tenantId)
      throw new Problem("TENANT_MISMATCH", "X-Tenant-Id is not the token's tenant");
    requirePermission(principal, endpoint.permission);
    const tenant = await registry.tenant(principal.tenantId);
    assertCurrent(tenant, registry.version);
    c.set("requestIdIsKey", requestIdIsKey);
    return {
      caller: principal,
      tenant,
      requestId,
      now: new Date(nowMs).toISOString(),
      params: parseParams(endpoint.params, c.req.param()),
      query: parseQuery(endpoint.query, c.req.queries()),
      body: endpoint.body && !endpoint.files ? parseBody(endpoint.body, await readJson(c)) : undefined,
      ifMatch: endpoint.versioned && endpoint.method !== "get" ? parseIfMatch(c.req.header("if-match")) : undefined,
      ip: c.req.header("x-forwarded-for") ?? null,
      userAgent: c.req.header("user-agent")?.slice(0, 255) ?? null,
      context: c,
    };
  }
}

/** No caller's id: the gateway always sends one, so an id is made only for who came round it. */
const newRequestIdLater = "";

function answerHeaders(requestId: string): Record<string, string> {
  return {
    "content-type": "application/json; charset=utf-8",
    "x-request-id": requestId,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

function requestIdOf(c: Context): string {
  const given = c.req.header("x-request-id");
  try {
    return readRequestId("X-Request-ID", given) ?? newRequestId();
  } catch {
    // A malformed id is never echoed; what is wrong with the path is said under an id of ours.
    return newRequestId();
  }
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];

function allowedMethods(app: OpenAPIHono<{ Bindings: HttpBindings }>, path: string): string[] {
  return methods.filter((method) => app.router.match(method, path)[0].length > 0);
}

/** The process's own figures, for who asks as Prometheus does and speaks for no tenant; a tenant's figures on the same path are a slice's. */
function prometheusRoute(app: OpenAPIHono<{ Bindings: HttpBindings }>, metrics: HttpMetrics): void {
  app.get("/metrics", async (c, next) => {
    if (c.req.header("x-cell-assertion") !== undefined || !/text\/plain/.test(c.req.header("accept") ?? "")) return next();
    return new Response(await metrics.registry.metrics(), { headers: { "content-type": metrics.registry.contentType } });
  });
}

/** Routes without a tenant: for load balancers, Prometheus and the gateway's control plane. */
function operationalRoutes(app: OpenAPIHono<{ Bindings: HttpBindings }>, options: CellOptions): void {
  const { registry, name, assertionKeys } = options;
  const headers = { "content-type": "application/json; charset=utf-8" };
  app.get("/health", (c) => new Response('{"status":"ok"}', { headers: { ...headers, "x-request-id": requestIdOf(c) } }));
  app.get("/ready", async (c) => {
    let database = "ok";
    try {
      await registry.check();
    } catch (error) {
      options.log.warn({ err: error }, "the database is away");
      database = "away";
    }
    const ready = database === "ok" && !options.draining();
    const body = JSON.stringify({ status: ready ? "ready" : "not ready", checks: { database, draining: options.draining() } });
    return new Response(body, {
      status: ready ? 200 : 503,
      headers: { ...headers, "x-request-id": requestIdOf(c), ...(ready ? {} : { "retry-after": "1" }) },
    });
  });

  const operator = (c: Context): string => {
    const requestId = readRequestId("X-Request-ID", c.req.header("x-request-id"));
    const { principal } = verifyAssertion(assertionKeys, name, c.req.header("x-cell-assertion"), requestId, Math.floor(Date.now() / 1000));
    requirePermission(principal, "cell:admin");
    const tenantId = c.req.param("tenantId") ?? "";
    if (tenantId !== principal.tenantId) throw new Problem("TENANT_MISMATCH", "The assertion speaks of another tenant");
    return tenantId;
  };
  app.put("/internal/tenants/:tenantId", async (c) => {
    const tenantId = operator(c);
    const { created } = await registry.provision(tenantId);
    return c.json({ tenantId, created }, created ? 201 : 200);
  });
  app.delete("/internal/tenants/:tenantId", async (c) => {
    const tenantId = operator(c);
    return c.json({ tenantId, ...(await registry.drop(tenantId)) });
  });
}
