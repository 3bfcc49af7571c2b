import { Counter, createHttpMetrics, Gauge, type HttpMetrics } from "@cell/http";

/** The gateway's metrics besides its requests. No label names a tenant or a caller. */
export interface GatewayMetrics extends HttpMetrics {
  rateLimited: Counter<"limit">;
  refusedTokens: Counter;
  keysReadAt: Gauge;
  shed: Counter<"partition" | "reason">;
  waited: Counter<"partition">;
  retried: Counter<"partition">;
  failed: Counter<"partition" | "kind">;
  circuitOpen: Gauge<"partition">;
  openStreams: Gauge<"kind">;
  refusedStreams: Counter<"limit">;
}

export function createGatewayMetrics(): GatewayMetrics {
  const http = createHttpMetrics();
  const registers = [http.registry];
  return {
    ...http,
    rateLimited: new Counter({
      name: "gateway_rate_limited_total",
      help: "Requests rejected with 429, by the exceeded limit: token, tenant, class (of some routes), or attempts (failed ones of an address)",
      labelNames: ["limit"],
      registers,
    }),
    refusedTokens: new Counter({ name: "gateway_refused_tokens_total", help: "Tokens rejected with 401", registers }),
    keysReadAt: new Gauge({
      name: "gateway_identity_provider_keys_read_timestamp_seconds",
      help: "When the identity provider's keys were last read; 0 if they never were, or without a provider",
      registers,
    }),
    shed: new Counter({
      name: "gateway_shed_total",
      help: "Requests rejected with 503 without being sent, by reason: circuit (it is open), partition (bulkhead full) or tenant (quota used up)",
      labelNames: ["partition", "reason"],
      registers,
    }),
    waited: new Counter({
      name: "gateway_waited_total",
      help: "Requests that waited because their tenant used its concurrency in the partition while other tenants sent requests",
      labelNames: ["partition"],
      registers,
    }),
    retried: new Counter({
      name: "gateway_retries_total",
      help: "Requests retried at a partition",
      labelNames: ["partition"],
      registers,
    }),
    failed: new Counter({
      name: "gateway_upstream_failures_total",
      help: "Attempts without a complete response of a partition, by kind: connect, connect_timeout, reset, timeout, malformed, or broken (within the response)",
      labelNames: ["partition", "kind"],
      registers,
    }),
    openStreams: new Gauge({
      name: "gateway_open_streams",
      help: "Open streams, by kind: events (event streams) or socket (WebSockets)",
      labelNames: ["kind"],
      registers,
    }),
    refusedStreams: new Counter({
      name: "gateway_refused_streams_total",
      help: "Event streams and WebSockets that were rejected, by the exceeded limit: process, tenant or token",
      labelNames: ["limit"],
      registers,
    }),
    circuitOpen: new Gauge({
      name: "gateway_circuit_open",
      help: "1 while the circuit breaker rejects requests to a partition",
      labelNames: ["partition"],
      registers,
    }),
  };
}
