import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import type { HttpBindings } from "@hono/node-server";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { Scalar } from "@scalar/hono-api-reference";

/** The document at /openapi.json and its page at /docs, with nothing loaded from elsewhere. */
export function docsRoutes(app: OpenAPIHono<{ Bindings: HttpBindings }>, document: object, title: string): void {
  const text = JSON.stringify(document);
  const policy =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:";
  app.get("/openapi.json", () => new Response(text, { headers: { "content-type": "application/json; charset=utf-8" } }));
  app.get(
    "/docs/scalar.js",
    () =>
      new Response(Readable.toWeb(createReadStream(scalarScript())) as ReadableStream, {
        headers: { "content-type": "text/javascript; charset=utf-8", "cache-control": "max-age=86400" },
      }),
  );
  app.use("/docs", async (c, next) => {
    c.header("content-security-policy", policy);
    await next();
  });
  app.get(
    "/docs",
    Scalar({ url: "openapi.json", cdn: "docs/scalar.js", pageTitle: title, withDefaultFonts: false, telemetry: false, favicon: "data:," }),
  );
}

function scalarScript(): string {
  const main = createRequire(import.meta.url).resolve("@scalar/api-reference");
  return join(dirname(main), "browser", "standalone.js");
}
