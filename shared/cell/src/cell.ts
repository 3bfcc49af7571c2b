import { type CellDeclaration, createHttpMetrics, frameworkPermissions, type HttpMetrics, type Permission } from "@cell/http";
import { endpointApp, routePattern } from "@cell/http/endpoint/router";
import type { Document } from "@cell/http/openapi/document";
import { cellDocument } from "./cell-document.ts";
import type { Cell, CellApp, CellOptions, Slice } from "./cell-types.ts";
import { type Register, routesOf } from "./http/cell-routes.ts";
import { docsRoutes } from "./http/docs.ts";
import type { Endpoint } from "./http/endpoint.ts";
import { Handlers, requestIdOf } from "./http/handlers.ts";
import { operationalRoutes, prometheusRoute } from "./http/operational-routes.ts";

export interface RunningCell {
  app: CellApp;
  /** The OpenAPI 3.1 document; its generator is loaded at the first call. */
  document(): Promise<Document>;
  /** Every permission that a tenant's user can have here. */
  permissions: readonly Permission[];
  metrics: HttpMetrics;
}

/** A process's application: the slices' routes with all policies, health, metrics, documents and the gateway's own routes. */
export function createCell<Services>(options: CellOptions, slices: readonly Slice<Services>[], services: () => Services): RunningCell {
  const metrics = createHttpMetrics();
  const handlers = new Handlers(options, metrics);
  const app: CellApp = endpointApp((c, error) => handlers.refuse(c, error, requestIdOf(c), "unknown", performance.now()));
  const endpoints: Endpoint[] = [];
  const register: Register = (endpoint, handle) => {
    endpoints.push(endpoint);
    app.on(endpoint.method.toUpperCase(), routePattern(endpoint.path), (c) => handlers.handle(c, endpoint, handle));
  };
  if (options.metricsToken !== undefined) prometheusRoute(app, metrics, options.metricsToken);
  const cell: Cell = { ...routesOf(options, () => metrics.begun, register), events: () => undefined };
  for (const slice of slices) slice(cell, services);
  const permissions: readonly Permission[] = [...options.permissions, ...frameworkPermissions];
  for (const { method, path, permission } of endpoints) {
    if (permission === null || permissions.includes(permission)) continue;
    throw new Error(`${method} ${path} needs ${permission}, which the cell does not declare`);
  }
  const declaration: CellDeclaration = {
    permissions: options.permissions,
    roles: options.roles,
    routes: endpoints.map(({ method, path, gateway }) => ({
      method: method.toUpperCase(),
      path,
      ...(gateway ? { policy: gateway } : {}),
    })),
  };

  const document = () => cellDocument(options, slices);
  docsRoutes(app, document, options.title);
  operationalRoutes(app, options, declaration);
  return { app, document, permissions, metrics };
}
