import type { IncomingMessage, ServerResponse } from "node:http";
import { type Logger, newRequestId, type Server, securityHeaders, sendProblem, serve, toProblem } from "@cell/http";
import { createApp } from "./app.ts";
import type { Config } from "./config.ts";
import { createForward } from "./forward.ts";
import { identifyRequest } from "./identity.ts";
import { createServices } from "./services.ts";
import { readTarget } from "./target.ts";

/** Starts a gateway. Resolves when it listens and has looked at its database for the first time; rejects when the port is taken. */
export async function startGateway(config: Config, log: Logger): Promise<Server> {
  const services = await createServices(config, log);
  const { metrics, authenticator, rateLimits, upstreams, controlPlane } = services;
  const forward = createForward({ config, authenticator, rateLimits, upstreams, metrics, log });
  const app = createApp(services, () => server.draining);

  /** Requests to the cells are answered right here; what remains for `app` has its id on the answer. */
  function intercept(incoming: IncomingMessage, outgoing: ServerResponse): boolean {
    let requestId: string | undefined;
    try {
      const id = identifyRequest(incoming);
      requestId = id.requestId;
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

  services.identityProvider?.start();
  const looked = controlPlane.start();
  const server = await serve({
    fetch: app.fetch as Parameters<typeof serve>[0]["fetch"],
    intercept,
    host: config.host,
    port: config.port,
    log,
    requestTimeoutMs: config.timeouts.requestMs,
    drainDelayMs: config.timeouts.drainDelayMs,
    drainTimeoutMs: config.timeouts.drainMs,
    close: services.close,
  });
  await looked;
  services.mover.start();
  return server;
}
