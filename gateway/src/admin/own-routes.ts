import { problemResponse, toProblem } from "@cell/http";
import { endpointApp, type HttpEnv } from "@cell/http/endpoint/router";
import { databaseProblem } from "@cell/postgres/problems";
import type { Context, Hono } from "hono";
import type { Services } from "../services.ts";

type Handler = (c: Context<HttpEnv>) => Response | Promise<Response>;

/** Routes that the gateway serves itself: each request is measured under its route's pattern, each error is a problem. */
export class OwnRoutes {
  readonly app: Hono<HttpEnv>;
  readonly #services: Pick<Services, "metrics" | "log">;

  /** `admitUnknown` may reject with a problem that takes precedence over the 404 or 405 of a request without a route. */
  constructor(services: Pick<Services, "metrics" | "log">, admitUnknown?: (c: Context<HttpEnv>) => Promise<unknown>) {
    this.#services = services;
    this.app = endpointApp((c, error) =>
      this.#handle(c, "other", async () => {
        await admitUnknown?.(c);
        throw error;
      }),
    );
  }

  /** Adds a route. `path` is in Hono's form: `/openapi/:file`. */
  add(method: string, path: string, handler: Handler): void {
    this.app.on(method, path, (c) => this.#handle(c, path, handler));
  }

  get(path: string, handler: Handler): void {
    this.add("GET", path, handler);
  }

  async #handle(c: Context<HttpEnv>, route: string, handler: Handler): Promise<Response> {
    this.#measure(c, route);
    try {
      return await handler(c);
    } catch (error) {
      return this.#refuse(c, error);
    }
  }

  #measure(c: Context<HttpEnv>, route: string): void {
    const { metrics } = this.#services;
    const { outgoing } = c.env;
    const startedAtMs = performance.now();
    metrics.started();
    outgoing.on("close", () => metrics.finished(c.req.method, route, outgoing.statusCode, (performance.now() - startedAtMs) / 1000));
  }

  #refuse(c: Context<HttpEnv>, error: unknown): Response {
    const problem = toProblem(databaseProblem(error));
    const requestId = requestIdOf(c);
    if (problem.status >= 500) this.#services.log.warn({ err: problem.cause ?? problem, requestId, code: problem.code }, "request failed");
    return problemResponse(problem, requestId);
  }
}

/** The id of the request, which the server has already set on the response. */
function requestIdOf(c: Context<HttpEnv>): string {
  return String(c.env.outgoing.getHeader("x-request-id"));
}
