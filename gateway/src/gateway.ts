import type { IncomingMessage, ServerResponse } from "node:http";
import {
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
import { Cors } from "./proxy/cors.ts";
import { createForward } from "./proxy/forward.ts";
import { readTarget } from "./proxy/route-target.ts";
import { createServices } from "./services.ts";

type Fetch = ServeOptions["fetch"];

/** A gateway that runs. */
export interface Gateway extends Server {
  /** Where its metrics are. */
  metricsUrl: string;
}

/**
 * Starts a gateway. Resolves when it listens and has looked at its database for the first time; rejects when a port is taken, and with an
 * UnusableDatabase.
 */
export async function startGateway(config: Config, log: Logger): Promise<Gateway> {
  const services = await createServices(config, log);
  const { metrics, authenticator, rateLimits, upstreams, controlPlane } = services;
  const forward = createForward({ config, authenticator, rateLimits, upstreams, metrics, log });
  const health = createHealth(services, () => server.draining);
  const cors = config.corsOrigins.size > 0 ? new Cors(config.corsOrigins, metrics) : undefined;
  let app: Promise<{ fetch: Fetch }> | undefined;
  /** What administration and documents need is loaded with their first request: no other waits for it. */
  const fetch: Fetch = async (request, env) => {
    if (isHealth(env.incoming.url ?? "")) return health.fetch(request, env);
    app ??= import("./admin/app.ts").then(({ createApp }) => createApp(services));
    return (await app).fetch(request, env);
  };

  /** Requests to the cells are answered right here; what remains for `app` has its id on the answer. */
  function intercept(incoming: IncomingMessage, outgoing: ServerResponse): boolean {
    let requestId: string | undefined;
    try {
      const id = identifyRequest(incoming);
      requestId = id.requestId;
      if (cors?.respondToPreflight(incoming, outgoing, requestId)) return true;
      const target = readTarget(incoming.url ?? "");
      if (target) {
        forward(incoming, outgoing, target, id);
        return true;
      }
      outgoing.setHeader("x-request-id", requestId);
      for (const [name, value] of Object.entries(securityHeaders)) outgoing.setHeader(name, value);
      return false;
    } catch (error) {
      sendProblem(outgoing, toProblem(error), requestId ?? newRequestId());
      return true;
    }
  }

  const { port: metricsPort, token } = config.metrics;
  const metricsServer =
    metricsPort === undefined ? undefined : await serveMetrics(metrics.registry, config.host, { port: metricsPort, token });
  services.identityProvider?.start();
  const looked = controlPlane.start();
  // Waited for below, when it may have failed already.
  looked.catch(() => undefined);
  const server = await serve({
    fetch,
    ...(cors ? { prepare: cors.prepare } : {}),
    intercept,
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
  services.mover.start();
  return Object.assign(server, { metricsUrl: metricsServer?.url ?? `${server.url}/metrics` });
}
