import { parseJsonBytes, readOptionalJsonBytes, trimTexts } from "@cell/http";
import { badField, badFields, Problem } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { except } from "hono/combine";
import type { Services } from "../services.ts";
import { type GatewayEnv, requireKey } from "./access.ts";
import { partLimitBytes, partPath, registerBackups } from "./backups.ts";
import { registerCells } from "./cells.ts";
import { registerDocs } from "./docs.ts";
import { installErrorHandling } from "./error-handling.ts";
import { registerKeys } from "./keys/routes.ts";
import { registerMoves } from "./moves/routes.ts";
import { registerTenants } from "./tenants/routes.ts";

const bodyLimitBytes = 64 * 1024;

/** The routes that the gateway serves itself for people and operators: administration and documents. */
export function createApp(services: Services): OpenAPIHono<GatewayEnv> {
  const app = new OpenAPIHono<GatewayEnv>({
    strict: false,
    defaultHook: (result) => {
      if (!result.success) throw badFields(fieldProblems(result.error));
    },
  });
  installErrorHandling(app, services);
  app.use("/api/admin/*", requireKey(services));
  app.use("/api/admin/*", except(partPath, readBody));
  app.use(partPath, limitBody(partLimitBytes));
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "An API key, or an access token of the configured issuer",
  });
  registerTenants(app, services);
  registerKeys(app, services);
  registerMoves(app, services);
  registerBackups(app, services);
  registerCells(app, services);
  registerDocs(app, services);
  return app;
}

/** Parses the body before Hono does, which accepts duplicate keys and invalid UTF-8. */
async function readBody(c: Context<GatewayEnv>, next: () => Promise<void>): Promise<void> {
  const bytes = await readOptionalJsonBytes(c.env.incoming, bodyLimitBytes);
  if (bytes) {
    const body = trimTexts(parseJsonBytes(bytes));
    // No DELETE here takes a body: its fields would be ignored.
    if (c.req.method === "DELETE" && JSON.stringify(body) !== "{}") throw badField("", "UNKNOWN_FIELD", "must be left out of a DELETE");
    c.req.bodyCache.json = Promise.resolve(body);
  }
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
