import { hash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { completeDocument } from "@cell/http/openapi/complete";
import type { Document, Tag } from "@cell/http/openapi/document";
import { notFound } from "@cell/problem";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { GatewayEnv } from "./admin/access.ts";
import type { Services } from "./services.ts";

export interface DocumentSource {
  title: string;
  /** Of the OpenAPI document, on this host. */
  url: string;
}

const scriptPath = "/docs/scalar.js";

/** The page that shows OpenAPI documents. Its policy forbids the browser to load or send anything elsewhere. */
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

/** The gateway's own document. */
export function gatewayDocument(app: OpenAPIHono<GatewayEnv>): Document {
  const raw = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Cell CRM gateway",
      version: "2.0.0",
      description:
        "Tenants, keys and cells. What the cells do is below `/api/v1/{cell}`, each with a document of its own at `/openapi/{cell}.json`.",
    },
    servers: [{ url: "/" }],
  });
  return completeDocument(raw, { tags: documentTags, exampleValues });
}

const documentTags: readonly Tag[] = [
  { name: "Tenants", description: "The tenants of the platform: for the operator." },
  { name: "Keys", description: "API keys: for the operator, and for administrators within their tenant." },
  { name: "Moves", description: "Moves of tenants between partitions: for the operator." },
  { name: "Backups", description: "Backup and restore of one tenant: for the operator." },
  { name: "Cells", description: "The cells behind the gateway, and their partitions." },
  { name: "Operations", description: "For load balancers, monitoring and tools: without a token." },
];

/** Examples of fields whose schemas have none, by their names. */
const exampleValues: Readonly<Record<string, unknown>> = {
  keyId: "0197c3a0-11d4-7b5c-8e3f-62a9d0c4e871",
  name: "Example Ltd",
  rateLimit: null,
  healthy: true,
  provisioned: true,
};

/** The documents, their page, and the index at /. */
export function registerDocs(app: OpenAPIHono<GatewayEnv>, { config, cells }: Services): void {
  const sources = config.cells.map(({ name }) => ({ title: name, url: `/openapi/${name}.json` }));
  let script: Promise<Script> | undefined;
  let document: string | undefined;

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
    document ??= JSON.stringify(gatewayDocument(app));
    return c.body(document, 200, { "content-type": "application/json; charset=utf-8" });
  });

  app.get("/openapi/:file", async (c) => {
    const name = c.req.param("file").replace(/\.json$/, "");
    const [url] = config.cells.find((cell) => c.req.path === `/openapi/${cell.name}.json`)?.urls ?? [];
    if (url === undefined) throw notFound("Service");
    return c.json({ ...(await cells.openapi(url)), servers: [{ url: `/api/v1/${name}` }] });
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
