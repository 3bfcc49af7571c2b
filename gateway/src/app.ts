import { methodNotAllowed, problemResponse, readJson, toProblem } from "@cell/http";
import { databaseProblem } from "@cell/postgres/problems";
import { badFields, Problem, unavailable } from "@cell/problem";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { except } from "hono/combine";
import { HTTPException } from "hono/http-exception";
import { routePath } from "hono/route";
import { type GatewayEnv, requireKey } from "./admin/access.ts";
import { partLimitBytes, partPath, registerBackups } from "./admin/backups.ts";
import { registerCells } from "./admin/cells.ts";
import { registerKeys } from "./admin/keys/routes.ts";
import { registerMoves } from "./admin/moves/routes.ts";
import { registerTenants } from "./admin/tenants/routes.ts";
import { registerDocs } from "./docs.ts";
import type { Services } from "./services.ts";

const bodyLimitBytes = 64 * 1024;

/** Everything that the gateway answers itself: administration, documents, health. `draining`: the server is about to stop. */
export function createApp(services: Services, draining: () => boolean): OpenAPIHono<GatewayEnv> {
  const app = new OpenAPIHono<GatewayEnv>({
    strict: false,
    defaultHook: (result) => {
      if (result.success) return;
      throw badFields(result.error.issues.map(({ path, code, message }) => ({ path: path.join("."), code: code.toUpperCase(), message })));
    },
  });
  app.use(measure(services));
  app.use("/api/admin/*", requireKey(services));
  app.use("/api/admin/*", except(partPath, readBody));
  app.use(partPath, limitBody(partLimitBytes));
  app.onError((error, c) => renderError(services, error, c));
  app.notFound((c) => {
    throw methodNotAllowed(allowedMethods(app, c.req.path));
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "An API key, or an access token of the configured issuer",
  });
  registerHealth(app, services, draining);
  registerTenants(app, services);
  registerKeys(app, services);
  registerMoves(app, services);
  registerBackups(app, services);
  registerCells(app, services);
  registerDocs(app, services);
  return app;
}

/** Counts and times each request under its route's pattern. The server has put the request's id on the answer already. */
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

/** Reads the body before Hono does, who takes a key given twice and bytes that are no UTF-8. */
async function readBody(c: Context<GatewayEnv>, next: () => Promise<void>): Promise<void> {
  const { incoming } = c.env;
  const { "content-length": length, "transfer-encoding": encoding } = incoming.headers;
  const hasBody = encoding !== undefined || (length !== undefined && length !== "0");
  if (hasBody) c.req.bodyCache.json = Promise.resolve(await readJson(incoming, bodyLimitBytes));
  await next();
}

function limitBody(maxSize: number) {
  return bodyLimit({
    maxSize,
    onError: () => {
      throw new Problem("PAYLOAD_TOO_LARGE", `The body exceeds ${maxSize} bytes`);
    },
  });
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

/** The methods that some route takes at this path. */
function allowedMethods(app: OpenAPIHono<GatewayEnv>, path: string): string[] {
  const here = path.replace(/(?<=.)\/$/, "");
  const matching = app.routes.filter((route) => route.method !== "ALL" && patternOf(route.path).test(here));
  return [...new Set(matching.map((route) => route.method))];
}

function patternOf(route: string): RegExp {
  return new RegExp(`^${route.replaceAll(".", "\\.").replaceAll(/:[A-Za-z]+/g, "[^/]+")}$`);
}

function registerHealth(
  app: OpenAPIHono<GatewayEnv>,
  { controlPlane, identityProvider, metrics }: Services,
  draining: () => boolean,
): void {
  app.get("/health", (c) => c.json({ status: "ok" }));
  app.get("/ready", (c) => {
    const checks = {
      database: controlPlane.reachable ? "ok" : "away",
      // Its absence makes nobody unready: keys are taken all the same.
      identityProvider: identityProvider?.state ?? "none",
      draining: draining(),
    };
    if (checks.database === "ok" && !checks.draining) return c.json({ status: "ready", checks });
    const { code, message, headers } = unavailable(checks.draining ? "Shutting down" : "The control plane's database is away");
    throw new Problem(code, message, { details: { checks }, ...(headers ? { headers } : {}) });
  });
  app.get("/metrics", async (c) => c.body(await metrics.registry.metrics(), 200, { "content-type": metrics.registry.contentType }));
}
