import { Counter, createHttpMetrics, Gauge, type HttpMetrics } from "@cell/http";

/** What the gateway counts besides its requests. No label names a tenant or a caller. */
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
      help: "Requests refused with 429, by the limit that they exceeded: token, tenant, class (of some routes), or attempts (failed ones of an address)",
      labelNames: ["limit"],
      registers,
    }),
    refusedTokens: new Counter({ name: "gateway_refused_tokens_total", help: "Tokens refused with 401", registers }),
    keysReadAt: new Gauge({
      name: "gateway_identity_provider_keys_read_timestamp_seconds",
      help: "When the identity provider's keys were last read; 0 when they never were, or when there is no provider",
      registers,
    }),
    shed: new Counter({
      name: "gateway_shed_total",
      help: "Requests refused with 503 unsent, by reason: circuit (it is open), partition (it has enough to do) or tenant (its share is used)",
      labelNames: ["partition", "reason"],
      registers,
    }),
    waited: new Counter({
      name: "gateway_waited_total",
      help: "Requests that waited for their turn: their tenant had enough with the partition already while other tenants asked",
      labelNames: ["partition"],
      registers,
    }),
    retried: new Counter({
      name: "gateway_retries_total",
      help: "Requests sent to a partition for the second time",
      labelNames: ["partition"],
      registers,
    }),
    failed: new Counter({
      name: "gateway_upstream_failures_total",
      help: "Attempts that a partition left unanswered, by kind: connect, connect_timeout, reset, timeout, malformed, or broken (amid the answer)",
      labelNames: ["partition", "kind"],
      registers,
    }),
    openStreams: new Gauge({
      name: "gateway_open_streams",
      help: "Streams that are open, by kind: events (event streams) or socket (WebSockets)",
      labelNames: ["kind"],
      registers,
    }),
    refusedStreams: new Counter({
      name: "gateway_refused_streams_total",
      help: "Event streams and WebSockets that were refused, by the limit that they exceeded: process, tenant or token",
      labelNames: ["limit"],
      registers,
    }),
    circuitOpen: new Gauge({
      name: "gateway_circuit_open",
      help: "1 while requests to a partition are refused because it does not answer",
      labelNames: ["partition"],
      registers,
    }),
  };
}
