import { setTimeout as sleep } from "node:timers/promises";
import {
  type CellDeclaration,
  cellAdmin,
  declarationPath,
  type HttpMetrics,
  type Principal,
  problemBody,
  readRequestId,
  requireMetricsToken,
  verifyAssertion,
  version,
} from "@cell/http";
import { Problem } from "@cell/problem";
import type { Context } from "hono";
import type { CellApp, CellOptions } from "../cell-types.ts";
import { requirePermission } from "./endpoint.ts";
import { requestIdOf } from "./handlers.ts";
import { placementRoutes } from "./placement-routes.ts";

/**
 * The process's metrics, for a request with the metrics token and without a tenant; the tenant's figures on the same path belong to a
 * slice.
 */
export function prometheusRoute(app: CellApp, metrics: HttpMetrics, token: string): void {
  app.get("/metrics", async (c, next) => {
    if (c.req.header("x-cell-assertion") !== undefined) return next();
    requireMetricsToken(token, c.req.header("authorization"));
    return new Response(await metrics.registry.metrics(), { headers: { "content-type": metrics.registry.contentType } });
  });
}

/** Time limit of the database check. */
const readyWithinMs = 500;

async function withinMs(promise: Promise<void>, ms: number): Promise<void> {
  const late = new AbortController();
  const timeout = sleep(ms, undefined, { signal: late.signal }).then(() => {
    throw new Error(`no response in ${ms} ms`);
  });
  try {
    await Promise.race([promise, timeout]);
  } finally {
    late.abort();
  }
}

/** Routes without a tenant: for load balancers, Prometheus and the gateway's control plane. */
export function operationalRoutes(app: CellApp, options: CellOptions, declaration: CellDeclaration): void {
  const { registry, name, assertionKeys } = options;
  const headers = { "content-type": "application/json; charset=utf-8" };
  const health = JSON.stringify({ status: "ok", version });
  app.get("/health", (c) => new Response(health, { headers: { ...headers, "x-request-id": requestIdOf(c) } }));
  app.get("/ready", async (c) => {
    let database = "ok";
    try {
      await withinMs(registry.check(), readyWithinMs);
    } catch (error) {
      options.log.warn({ err: error }, "the database is not reachable");
      database = "away";
    }
    const draining = options.draining();
    const problems = options.sealingProblems?.() ?? [];
    const openDoors = options.openDoors?.() ?? 0;
    const checks = { database, draining, ...(openDoors > 0 ? { openDoors } : {}) };
    // The process still serves requests: a load balancer must not remove it.
    const recorded = problems.length === 0 ? { checks } : { degraded: true, problems, checks: { ...checks, sealing: "failing" } };
    const requestId = requestIdOf(c);
    const sent = { ...headers, "x-request-id": requestId };
    if (database === "ok" && !draining) return new Response(JSON.stringify({ status: "ready", ...recorded }), { headers: sent });
    const message = draining ? "The process is shutting down" : "The database is away";
    const problem = new Problem("UNAVAILABLE", message, { details: recorded });
    return new Response(problemBody(problem, requestId), { status: 503, headers: { ...sent, "retry-after": "1" } });
  });

  const requireGateway = (c: Context): Principal => {
    const requestId = readRequestId("X-Request-ID", c.req.header("x-request-id"));
    const { principal } = verifyAssertion(assertionKeys, name, c.req.header("x-cell-assertion"), requestId, Math.floor(Date.now() / 1000));
    requirePermission(principal, cellAdmin);
    return principal;
  };
  app.get(declarationPath, (c) => {
    requireGateway(c);
    return c.json(declaration);
  });
  const operator = (c: Context): string => {
    const principal = requireGateway(c);
    const tenantId = c.req.param("tenantId") ?? "";
    if (tenantId !== principal.tenantId) throw new Problem("TENANT_MISMATCH", "The assertion is for another tenant");
    return tenantId;
  };
  app.put("/internal/tenants/:tenantId", async (c) => {
    const tenantId = operator(c);
    const { created } = await registry.provision(tenantId);
    return c.json({ tenantId, created }, created ? 201 : 200);
  });
  app.delete("/internal/tenants/:tenantId", async (c) => {
    const tenantId = operator(c);
    const { dropped } = await registry.drop(tenantId);
    // Repeated on each call, in case an earlier attempt ended between the two steps.
    await options.endTrail(tenantId);
    return c.json({ tenantId, dropped });
  });
  placementRoutes(app, options, operator);
}
