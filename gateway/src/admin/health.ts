import { requireMetricsToken, version } from "@cell/http";
import type { HttpEnv } from "@cell/http/endpoint/router";
import { Problem, unavailable } from "@cell/problem";
import type { Hono } from "hono";
import type { Services } from "../services.ts";
import { OwnRoutes } from "./own-routes.ts";

/** Whether a path is a health route. */
export function isHealth(url: string): boolean {
  return /^\/(?:health|ready|metrics)\/?(?:\?|$)/.test(url);
}

/**
 * Health, readiness and, unless they have a port of their own, metrics, for load balancers and Prometheus. `draining`: the server is about
 * to stop.
 */
export function createHealth(services: Services, draining: () => boolean): Hono<HttpEnv> {
  const { config, controlPlane, identityProvider, metrics } = services;
  const routes = new OwnRoutes(services);
  routes.get("/health", (c) => c.json({ status: "ok", version }));
  routes.get("/ready", (c) => {
    const checks = {
      database: controlPlane.reachable ? "ok" : "away",
      // It does not affect readiness: API keys work without it.
      identityProvider: identityProvider?.state ?? "none",
      draining: draining(),
    };
    if (checks.database === "ok" && !checks.draining) return c.json({ status: "ready", checks });
    const { code, message, headers } = unavailable(checks.draining ? "Shutting down" : "The control plane's database is not reachable");
    throw new Problem(code, message, { details: { checks }, ...(headers ? { headers } : {}) });
  });
  const { port, token } = config.metrics;
  if (port !== undefined || token === undefined) return routes.app;
  routes.get("/metrics", async (c) => {
    requireMetricsToken(token, c.req.header("authorization"));
    return c.body(await metrics.registry.metrics(), 200, { "content-type": metrics.registry.contentType });
  });
  return routes.app;
}
