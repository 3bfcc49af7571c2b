import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import type { HttpEnv } from "@cell/http/endpoint/router";
import type { CellApp } from "../cell-types.ts";
import { requestIdOf } from "./handlers.ts";

/** Serves the document at /openapi.json and its page at /docs, with no external resources. */
export function docsRoutes(app: CellApp, document: () => Promise<object>, title: string): void {
  let text: Promise<string> | undefined;
  /** The document without its servers, which depend on the request; its end is left open. */
  const unserved = async () => {
    const { servers: _, ...rest } = (await document()) as { servers?: unknown };
    return JSON.stringify(rest).slice(0, -1);
  };
  const policy =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:";
  app.get("/openapi.json", async (c) => {
    text ??= unserved();
    const { origin } = new URL(c.req.url);
    const headers = { "content-type": "application/json; charset=utf-8", "x-request-id": requestIdOf(c) };
    return new Response(`${await text},"servers":${JSON.stringify([{ url: origin }])}}`, { headers });
  });
  app.get(
    "/docs/scalar.js",
    () =>
      new Response(Readable.toWeb(createReadStream(scalarScript())) as ReadableStream, {
        headers: { "content-type": "text/javascript; charset=utf-8", "cache-control": "max-age=86400" },
      }),
  );
  app.get("/docs", async (c, next) => {
    c.header("content-security-policy", policy);
    const { Scalar } = await import("@scalar/hono-api-reference");
    const page = { url: "openapi.json", cdn: "docs/scalar.js", pageTitle: title, favicon: "data:," };
    return Scalar<HttpEnv>({ ...page, withDefaultFonts: false, telemetry: false })(c, next);
  });
}

function scalarScript(): string {
  const main = createRequire(import.meta.url).resolve("@scalar/api-reference");
  return join(dirname(main), "browser", "standalone.js");
}
