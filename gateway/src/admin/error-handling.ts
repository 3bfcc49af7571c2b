import { methodNotAllowed, problemResponse, toProblem } from "@cell/http";
import { databaseProblem } from "@cell/postgres/problems";
import { Problem } from "@cell/problem";
import type { Context, Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { routePath } from "hono/route";
import type { Services } from "../services.ts";
import type { GatewayEnv } from "./access.ts";

/** Metrics, error and 405 handling shared by all gateway-owned routes. Install it before any route. */
export function installErrorHandling(app: Hono<GatewayEnv>, services: Services): void {
  app.use(measure(services));
  app.onError((error, c) => renderError(services, error, c));
  app.notFound((c) => {
    throw methodNotAllowed(allowedMethods(app, c.req.path));
  });
}

/** Counts and times each request by its route's pattern. The server has already set the request's id. */
function measure({ metrics }: Services) {
  return async (c: Context<GatewayEnv>, next: () => Promise<void>) => {
    const { outgoing } = c.env;
    const startedAtMs = performance.now();
    c.set("requestId", String(outgoing.getHeader("x-request-id")));
    metrics.started();
    outgoing.on("close", () => {
      const route = routePath(c, -1);
      metrics.finished(c.req.method, route === "*" ? "other" : route, outgoing.statusCode, (performance.now() - startedAtMs) / 1000);
    });
    await next();
  };
}

function renderError({ log }: Services, error: Error, c: Context<GatewayEnv>): Response {
  const { requestId } = c.var;
  const malformed = error instanceof HTTPException && error.status === 400;
  const problem = malformed
    ? new Problem("BAD_REQUEST", "The body is not valid JSON", { cause: error })
    : toProblem(databaseProblem(error));
  if (problem.status >= 500) log.warn({ err: problem.cause ?? problem, requestId, code: problem.code }, "request failed");
  return problemResponse(problem, requestId);
}

/** The methods of the routes at this path. */
function allowedMethods(app: Hono<GatewayEnv>, path: string): string[] {
  const here = path.replace(/(?<=.)\/$/, "");
  const matching = app.routes.filter((route) => route.method !== "ALL" && patternOf(route.path).test(here));
  return [...new Set(matching.map((route) => route.method))];
}

function patternOf(route: string): RegExp {
  return new RegExp(`^${route.replaceAll(".", "\\.").replaceAll(/:[A-Za-z]+/g, "[^/]+")}$`);
}
