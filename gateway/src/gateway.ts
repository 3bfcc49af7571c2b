import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type ErrorForm,
  type Logger,
  newRequestId,
  type ServeOptions,
  type Server,
  securityHeaders,
  sendProblem,
  serve,
  serveMetrics,
  toProblem,
} from "@cell/http";
import { createHealth, isHealth } from "./admin/health.ts";
import { identifyRequest } from "./auth/request-identity.ts";
import type { Config } from "./config.ts";
import type { GatewayExtensions } from "./extensions.ts";
import { Admission } from "./proxy/admission.ts";
import { Cors } from "./proxy/cors.ts";
import { createForward } from "./proxy/forward.ts";
import { createFindPartition } from "./proxy/relocation.ts";
import { PrefixTable } from "./proxy/route-target.ts";
import { Upgrades } from "./proxy/upgrade.ts";
import { Webhooks } from "./proxy/webhooks.ts";
import { createServices, type Services } from "./services.ts";

type Fetch = ServeOptions["fetch"];

/** A running gateway. */
export interface Gateway extends Server {
  /** URL of its metrics. */
  metricsUrl: string;
}

/**
 * Starts a gateway. Resolves when it listens and has checked its database once; rejects if a port is taken, and with an UnusableDatabase.
 */
export async function startGateway(config: Config, log: Logger, extensions: GatewayExtensions = {}): Promise<Gateway> {
  const services = await createServices(config, log, extensions);
  const { metrics, controlPlane, declarations, openStreams } = services;
  const { prefixes, forward, upgrades } = createProxy(services);
  const health = createHealth(services, () => server.draining);
  const cors = config.corsOrigins.size > 0 ? new Cors(config.corsOrigins, metrics) : undefined;
  let app: Promise<{ fetch: Fetch }> | undefined;
  /** Administration and documents are loaded with their first request, so that no other waits for them. */
  const fetch: Fetch = async (request, env) => {
    if (isHealth(env.incoming.url ?? "")) return health.fetch(request, env);
    app ??= import("./admin/app.ts").then(({ createApp }) => createApp(services));
    return (await app).fetch(request, env);
  };

  /** Requests to the cells are handled here; those for `app` already have their id on the response. */
  function intercept(incoming: IncomingMessage, outgoing: ServerResponse): boolean {
    let requestId: string | undefined;
    try {
      const id = identifyRequest(incoming);
      requestId = id.requestId;
      if (cors?.respondToPreflight(incoming, outgoing, requestId)) return true;
      const target = prefixes.find(incoming.url ?? "");
      if (target) {
        forward(incoming, outgoing, target, id);
        return true;
      }
      outgoing.setHeader("x-request-id", requestId);
      for (const [name, value] of Object.entries(securityHeaders)) outgoing.setHeader(name, value);
      return false;
    } catch (error) {
      sendProblem(outgoing, toProblem(error), requestId ?? newRequestId(), errorFormOf(services, prefixes, incoming));
      return true;
    }
  }

  const { port: metricsPort, token } = config.metrics;
  const metricsServer =
    metricsPort === undefined ? undefined : await serveMetrics(metrics.registry, config.host, { port: metricsPort, token });
  services.identityProvider?.start();
  const looked = controlPlane.start();
  // Awaited below; it may reject earlier.
  looked.catch(() => undefined);
  const declared = declarations.start();
  const server = await serve({
    fetch,
    ...(cors ? { prepare: cors.prepare } : {}),
    intercept,
    upgrade: upgrades,
    onDrain: () => openStreams.drain(),
    host: config.host,
    port: config.port,
    log,
    requestTimeoutMs: config.timeouts.requestMs,
    drainDelayMs: config.timeouts.drainDelayMs,
    drainTimeoutMs: config.timeouts.drainMs,
    async close() {
      await metricsServer?.stop();
      await services.close();
    },
  });
  await looked;
  await declared;
  services.mover.start();
  return Object.assign(server, { metricsUrl: metricsServer?.url ?? `${server.url}/metrics` });
}

/** Creates the proxy to the cells. */
function createProxy(services: Services) {
  const { config, authenticator, tenantAccess, rateLimits, upstreams, attempts, extensions } = services;
  const { trustedProxies, assertionKeys, timeouts } = config;
  const prefixes = new PrefixTable(
    config.cells.map(({ name }) => name),
    config.cellPrefixes,
  );
  const proxying = {
    ...services,
    prefixes,
    admission: new Admission({ authenticator, tenantAccess, rateLimits, trustedProxies }),
    findPartition: createFindPartition(authenticator, tenantAccess),
    webhooks: new Webhooks({
      verifiers: extensions.webhooks ?? [],
      attempts,
      tenantAccess,
      upstreams,
      assertionKeys,
      trustedProxies,
      headersMs: timeouts.headersMs,
    }),
  };
  return { prefixes, forward: createForward(proxying), upgrades: new Upgrades(proxying) };
}

/** The error form of a request that failed before its route was known. */
function errorFormOf({ declarations }: Services, prefixes: PrefixTable, { method = "", url = "" }: IncomingMessage): ErrorForm {
  try {
    const target = prefixes.find(url);
    return (target && declarations.get(target.cell)?.policies.of(method, target.decodedPath).errorForm) ?? "problem";
  } catch {
    return "problem";
  }
}
