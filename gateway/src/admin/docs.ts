import { hash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { HttpEnv } from "@cell/http/endpoint/router";
import { notFound } from "@cell/problem";
import type { Context } from "hono";
import { originOf } from "../auth/client-address.ts";
import type { Services } from "../services.ts";
import type { AdminRoutes } from "./admin-routes.ts";

export interface DocumentSource {
  title: string;
  /** URL of the OpenAPI document, on this host. */
  url: string;
}

const scriptPath = "/docs/scalar.js";

/** A page that shows OpenAPI documents. Its policy keeps the browser from loading or sending anything elsewhere. */
export async function docsPage(c: Context<HttpEnv>, title: string, sources: DocumentSource[]): Promise<Response> {
  const { Scalar } = await import("@scalar/hono-api-reference");
  const nonce = randomBytes(16).toString("base64");
  const page = Scalar<HttpEnv>({
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
export function registerDocs(routes: AdminRoutes, makeDocument: () => Promise<object>, { config, cells }: Services): void {
  const sources = config.cells.map(({ name }) => ({ title: name, url: `/openapi/${name}.json` }));
  let script: Promise<Script> | undefined;
  let document: Promise<object> | undefined;
  const originAsked = (c: Context<HttpEnv>) => originOf(c.env.incoming, config.trustedProxies) ?? "";

  routes.open("/", (c) => c.json({ name: "Cell CRM gateway", docs: "/docs", openapi: "/openapi.json" }));

  routes.open("/docs", (c) => docsPage(c, "Cell CRM", [...sources, { title: "gateway", url: "/openapi.json" }]));

  routes.open(scriptPath, async (c) => {
    script ??= readScript();
    const { plain, zipped, etag } = await script;
    const headers = { etag, "cache-control": "public, max-age=3600", vary: "accept-encoding, origin" };
    if (c.req.header("if-none-match") === etag) return c.body(null, 304, headers);
    const type = { ...headers, "content-type": "text/javascript; charset=utf-8" };
    if (/\bgzip\b/.test(c.req.header("accept-encoding") ?? "")) return c.body(zipped, 200, { ...type, "content-encoding": "gzip" });
    return c.body(plain, 200, type);
  });

  routes.open("/openapi.json", async (c) => {
    document ??= makeDocument();
    return c.json({ ...(await document), servers: [{ url: originAsked(c) || "/" }] });
  });

  async function cellDocument(c: Context<HttpEnv>, name: string): Promise<Response> {
    const [url] = config.cells.find((cell) => cell.name === name)?.urls ?? [];
    if (url === undefined) throw notFound("Service");
    return c.json({ ...(await cells.openapi(url)), servers: [{ url: `${originAsked(c)}/api/v1/${name}` }] });
  }

  routes.open("/openapi/:file", (c) => cellDocument(c, /^(.+)\.json$/.exec(c.req.param("file") ?? "")?.[1] ?? ""));
  routes.open("/api/v1/:cell/openapi.json", (c) => cellDocument(c, c.req.param("cell") ?? ""));
  routes.open("/api/v1/:cell/docs", (c) => {
    const name = c.req.param("cell") ?? "";
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
