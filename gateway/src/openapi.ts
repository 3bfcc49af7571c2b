import { createLogger } from "@cell/http";
import type { Document } from "@cell/http/openapi/document";
import { createApp } from "./admin/app.ts";
import { readConfig } from "./config.ts";
import { createServices } from "./services.ts";

/** The gateway's own OpenAPI document, generated without a database. */
export async function ownDocument(): Promise<Document> {
  // The document depends on no setting; these only allow to construct the gateway, which is not started.
  const config = readConfig({ DATABASE_URL: "postgres://none", ASSERTION_KEYS: `a:${"A".repeat(43)}`, CELLS: "crm=http://127.0.0.1:1" });
  const services = await createServices(config, createLogger("openapi", "silent"));
  const document = await createApp(services).document();
  await services.close();
  return document;
}
