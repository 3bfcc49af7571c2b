import { abortSent, type HttpMetrics, newRequestId, problemBody, readRequestId, toProblem, verifyAssertion } from "@cell/http";
import { bodyOf, headerOf, parseQuery, queryOf, readBody } from "@cell/http/endpoint/input";
import type { HttpEnv } from "@cell/http/endpoint/router";
import { assertCurrent, assertServed, databaseProblem, isDenied, type Tenant } from "@cell/postgres";
import { Problem, unavailable } from "@cell/problem";
import type { Context } from "hono";
import type { CellOptions } from "../cell-types.ts";
import {
  type Endpoint,
  parseIfMatch,
  parseParams,
  type RequestContext,
  requireCredential,
  requirePermission,
  requireScope,
} from "./endpoint.ts";

/** Size limit of a JSON body in bytes, unless a route overrides it. */
const mostBodyBytes = 1024 * 1024;

/**
 * The policies around every route's handler, in this order: request id, assertion, tenant, permission, validation; then the response or the
 * error.
 */
export class Handlers {
  readonly #options: CellOptions;
  readonly #metrics: HttpMetrics;

  constructor(options: CellOptions, metrics: HttpMetrics) {
    this.#options = options;
    this.#metrics = metrics;
  }

  async handle(
    c: Context<HttpEnv>,
    endpoint: Endpoint,
    handle: (context: RequestContext, headers: Record<string, string>) => Promise<Response>,
  ): Promise<Response> {
    const startedAt = performance.now();
    this.#metrics.started();
    let requestId = newRequestIdLater;
    let tenant: { handle: Tenant; epoch: number } | undefined;
    try {
      requestId = readRequestId("X-Request-ID", headerOf(c, "x-request-id")) ?? newRequestIdLater;
      const context = await this.#context(c, endpoint, requestId);
      tenant = { handle: context.tenant, epoch: context.tenant.epoch };
      const response = await handle(context, responseHeaders(requestId));
      this.#finished(c, requestId, endpoint.path, c.env.outgoing.headersSent ? c.env.outgoing.statusCode : response.status, startedAt);
      return response;
    } catch (error) {
      const cause = tenant && isDenied(error) ? await this.#whyDenied(tenant.handle, tenant.epoch, error) : error;
      return this.#refused(c, cause, requestId === newRequestIdLater ? newRequestId() : requestId, endpoint.path, startedAt);
    }
  }

  /** The database denies the login of a tenant that is being moved, before each process knows of the move. */
  async #whyDenied({ tenantId }: Tenant, epoch: number, error: unknown): Promise<unknown> {
    try {
      const now = await this.#options.registry.refresh(tenantId);
      assertServed(now, true);
      return now.epoch === epoch ? error : unavailable("This tenant was being moved; try again", 1, error);
    } catch (rejection) {
      return rejection;
    }
  }

  /** The response to a request without a route. */
  refuse(c: Context<HttpEnv>, error: unknown, requestId: string, route: string, startedAt: number): Response {
    this.#metrics.started();
    return this.#refused(c, error, requestId, route, startedAt);
  }

  #refused(c: Context<HttpEnv>, error: unknown, requestId: string, route: string, startedAt: number): Response {
    const problem = toProblem(databaseProblem(error));
    if (problem.code === "INTERNAL") this.#options.log.error({ requestId, route, err: problem.cause ?? problem }, problem.message);
    else if (problem.status >= 500)
      this.#options.log.warn({ requestId, route, code: problem.code, cause: String(problem.cause ?? "") }, problem.message);
    this.#finished(c, requestId, route, problem.status, startedAt);
    const cut = abortSent(c.env.outgoing);
    if (cut) return cut;
    return new Response(problemBody(problem, requestId), {
      status: problem.status,
      headers: { ...responseHeaders(requestId), ...problem.headers },
    });
  }

  #finished(c: Context<HttpEnv>, requestId: string, route: string, status: number, startedAt: number): void {
    const ms = performance.now() - startedAt;
    this.#metrics.finished(c.req.method, route, status, ms / 1000);
    if (this.#options.log.isLevelEnabled("debug"))
      this.#options.log.debug({ requestId, method: c.req.method, route, status, ms }, "answered");
  }

  async #context(c: Context<HttpEnv>, endpoint: Endpoint, requestId: string): Promise<RequestContext> {
    const { assertionKeys, name, registry } = this.#options;
    const nowMs = Date.now();
    const { principal, requestIdIsKey } = verifyAssertion(
      assertionKeys,
      name,
      headerOf(c, "x-cell-assertion"),
      requestId,
      Math.floor(nowMs / 1000),
    );
    const tenantHeader = headerOf(c, "x-tenant-id");
    if (tenantHeader !== undefined && tenantHeader !== principal.tenantId)
      throw new Problem("TENANT_MISMATCH", "X-Tenant-Id is not the token's tenant");
    requireCredential(principal, endpoint);
    if (endpoint.permission !== null) requirePermission(principal, endpoint.permission);
    requireScope(principal, endpoint);
    const tenant = await registry.tenant(principal.tenantId);
    assertServed(tenant, endpoint.method !== "get");
    assertCurrent(tenant, registry.version);
    const bytes = await readBody(c.env.incoming, endpoint, mostBodyBytes);
    let body: { parsed: unknown } | undefined;
    return {
      caller: principal,
      tenant,
      requestId,
      requestIdIsKey,
      now: new Date(nowMs).toISOString(),
      params: endpoint.params && parseParams(endpoint.params, c.req.param()),
      query: parseQuery(endpoint.query, queryOf(c)),
      bytes,
      get body() {
        body ??= { parsed: bodyOf(endpoint, bytes) };
        return body.parsed;
      },
      ifMatch: endpoint.versioned && endpoint.method !== "get" ? parseIfMatch(headerOf(c, "if-match")) : undefined,
      ip: headerOf(c, "x-forwarded-for") ?? null,
      userAgent: headerOf(c, "user-agent")?.slice(0, 255) ?? null,
      context: c,
    };
  }
}

/** The gateway always sends an id; one is only generated for requests that bypassed it. */
const newRequestIdLater = "";

function responseHeaders(requestId: string): Record<string, string> {
  return {
    "content-type": "application/json; charset=utf-8",
    "x-request-id": requestId,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}

/** The caller's request id, or a generated one if it is missing or malformed. */
export function requestIdOf(c: Context<HttpEnv>): string {
  const given = headerOf(c, "x-request-id");
  try {
    return readRequestId("X-Request-ID", given) ?? newRequestId();
  } catch {
    // A malformed id is never echoed; errors in the path get a generated id.
    return newRequestId();
  }
}
