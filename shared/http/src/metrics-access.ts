import { hash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Problem } from "@cell/problem";
import { bearerChallenge } from "./challenge.ts";
import type { Registry } from "./metrics.ts";
import { methodNotAllowed, securityHeaders, sendProblem, toProblem } from "./render.ts";
import { newRequestId } from "./request-id.ts";

/** The port on which a process serves its metrics, and the token that they need. */
export interface MetricsAccess {
  /** A separate port; undefined: the main port, which then needs the token. */
  port: number | undefined;
  /** Undefined: no token is needed on the separate port. */
  token: string | undefined;
}

/** Throws UNAUTHORIZED unless `authorization` carries the metrics token. */
export function requireMetricsToken(token: string, authorization: string | undefined): void {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  if (given !== undefined && timingSafeEqual(hash("sha256", given, "buffer"), hash("sha256", token, "buffer"))) return;
  const message = "The metrics need their own token: Authorization: Bearer <METRICS_TOKEN>";
  const challenge = authorization === undefined ? undefined : ({ error: "invalid_token", description: message } as const);
  throw new Problem("UNAUTHORIZED", message, { headers: { "www-authenticate": bearerChallenge(challenge) } });
}

export interface MetricsServer {
  /** URL of the metrics. */
  url: string;
  stop(): Promise<void>;
}

/** Serves the metrics, and nothing else, on a separate port. Rejects if the port is taken. */
export async function serveMetrics(
  registry: Registry,
  host: string,
  { port, token }: { port: number; token: string | undefined },
): Promise<MetricsServer> {
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (incoming, outgoing) => {
    response(registry, token, incoming, outgoing).catch((error) => sendProblem(outgoing, toProblem(error), newRequestId()));
  });
  server.maxConnections = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(new Error(`METRICS_PORT: nothing can listen on ${host}:${port} (${error.code})`)),
    );
    server.listen(port, host, resolve);
  });
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}/metrics`,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function response(registry: Registry, token: string | undefined, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (!/^\/metrics\/?(?:\?|$)/.test(incoming.url ?? ""))
    throw new Problem("NOT_FOUND", "Nothing is at this path; the metrics are at /metrics");
  if (incoming.method !== "GET" && incoming.method !== "HEAD") throw methodNotAllowed(["GET", "HEAD"]);
  if (token !== undefined) requireMetricsToken(token, incoming.headers.authorization);
  const text = await registry.metrics();
  outgoing.writeHead(200, { ...securityHeaders, "content-type": registry.contentType, "content-length": Buffer.byteLength(text) });
  outgoing.end(text);
}
