import type { ServeOptions } from "@cell/http";
import type { Document } from "@cell/http/openapi/document";
import type { Services } from "../services.ts";
import { AdminRoutes } from "./admin-routes.ts";
import { registerBackups } from "./backups.ts";
import { registerCells } from "./cells.ts";
import { registerDocs } from "./docs.ts";
import { registerKeys } from "./keys/routes.ts";
import { registerMoves } from "./moves/routes.ts";
import { registerTenants } from "./tenants/routes.ts";

/** The administration and the documents. */
export interface GatewayApp {
  fetch: ServeOptions["fetch"];
  /** The gateway's own OpenAPI document; its generator is loaded at the first call. */
  document(): Promise<Document>;
}

/** The routes for people and operators. */
export function createApp(services: Services): GatewayApp {
  const routes = new AdminRoutes(services);
  const document = async () => {
    const { gatewayDocument } = await import("./document.ts");
    return gatewayDocument(routes.endpoints);
  };
  registerTenants(routes, services);
  registerKeys(routes, services);
  registerMoves(routes, services);
  registerBackups(routes, services);
  registerCells(routes, services);
  registerDocs(routes, document, services);
  return { fetch: routes.app.fetch, document };
}
