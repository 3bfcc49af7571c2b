import { readJson } from "@cell/http";
import { badFields, Problem } from "@cell/problem";
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

/** What the gateway answers itself for people and operators: administration and documents. */
export function createApp(services: Services): OpenAPIHono<GatewayEnv> {
  const app = new OpenAPIHono<GatewayEnv>({
    strict: false,
    defaultHook: (result) => {
      if (result.success) return;
      throw badFields(
        result.error.issues.map((issue) => ({
          path: issue.path.join("."),
          code: (issue.code === "custom" && (issue.params?.code as string | undefined)) || issue.code.toUpperCase(),
          message: issue.message,
        })),
      );
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
