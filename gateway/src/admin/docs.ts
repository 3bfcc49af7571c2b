import { hash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { notFound } from "@cell/problem";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { originOf } from "../auth/client-address.ts";
import type { Services } from "../services.ts";
import type { GatewayEnv } from "./access.ts";
import { gatewayDocument } from "./document.ts";

export interface DocumentSource {
  title: string;
  /** URL of the OpenAPI document, on this host. */
  url: string;
}

const scriptPath = "/docs/scalar.js";

/** A page that shows OpenAPI documents. Its policy keeps the browser from loading or sending anything elsewhere. */
export async function docsPage(c: Context<GatewayEnv>, title: string, sources: DocumentSource[]): Promise<Response> {
  const { Scalar } = await import("@scalar/hono-api-reference");
  const nonce = randomBytes(16).toString("base64");
  const page = Scalar<GatewayEnv>({
    pageTitle: title,
    cdn: scriptPath,
    nonce,
    sources,
    withDefaultFonts: false,
    telemetry: false,
    favicon: "data:,",
    hideClientButton: true,
    showDeveloperTools: "never",
    agent: { disabled: true },
    mcp: { disabled: true },
    authentication: { preferredSecurityScheme: "bearer" },
  });
  c.header(
    "content-security-policy",
    `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; ` +
      "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  );
  return (await page(c, async () => undefined)) as Response;
}

/** The documents, their page, and the index at /. */
export function registerDocs(app: OpenAPIHono<GatewayEnv>, { config, cells }: Services): void {
  const sources = config.cells.map(({ name }) => ({ title: name, url: `/openapi/${name}.json` }));
  let script: Promise<Script> | undefined;
  let document: object | undefined;
  const originAsked = (c: Context<GatewayEnv>) => originOf(c.env.incoming, config.trustedProxies) ?? "";

  app.get("/", (c) => c.json({ name: "Cell CRM gateway", docs: "/docs", openapi: "/openapi.json" }));

  app.get("/docs", (c) => docsPage(c, "Cell CRM", [...sources, { title: "gateway", url: "/openapi.json" }]));

  app.get(scriptPath, async (c) => {
    script ??= readScript();
    const { plain, zipped, etag } = await script;
    const headers = { etag, "cache-control": "public, max-age=3600", vary: "accept-encoding, origin" };
    if (c.req.header("if-none-match") === etag) return c.body(null, 304, headers);
    const type = { ...headers, "content-type": "text/javascript; charset=utf-8" };
    if (/\bgzip\b/.test(c.req.header("accept-encoding") ?? "")) return c.body(zipped, 200, { ...type, "content-encoding": "gzip" });
    return c.body(plain, 200, type);
  });

  app.get("/openapi.json", (c) => {
    document ??= gatewayDocument(app);
    return c.json({ ...document, servers: [{ url: originAsked(c) || "/" }] });
  });

  async function cellDocument(c: Context<GatewayEnv>, name: string): Promise<Response> {
    const [url] = config.cells.find((cell) => cell.name === name)?.urls ?? [];
    if (url === undefined) throw notFound("Service");
    return c.json({ ...(await cells.openapi(url)), servers: [{ url: `${originAsked(c)}/api/v1/${name}` }] });
  }

  app.get("/openapi/:file", (c) => cellDocument(c, /^(.+)\.json$/.exec(c.req.param("file"))?.[1] ?? ""));
  app.get("/api/v1/:cell/openapi.json", (c) => cellDocument(c, c.req.param("cell")));
  app.get("/api/v1/:cell/docs", (c) => {
    const name = c.req.param("cell");
    if (!config.cells.some((cell) => cell.name === name)) throw notFound("Service");
    return docsPage(c, name, [{ title: name, url: `/openapi/${name}.json` }]);
  });
}

interface Script {
  plain: Uint8Array<ArrayBuffer>;
  zipped: Uint8Array<ArrayBuffer>;
  etag: string;
}

async function readScript(): Promise<Script> {
  const main = createRequire(import.meta.url).resolve("@scalar/api-reference");
  const plain = new Uint8Array(await readFile(join(dirname(main), "browser", "standalone.js")));
  const zipped = new Uint8Array(await promisify(gzip)(plain));
  return { plain, zipped, etag: `"${hash("sha256", plain).slice(0, 32)}"` };
}
