import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export { Counter, Gauge, Registry };

export interface HttpMetrics {
  registry: Registry;
  /** Number of requests so far. */
  readonly begun: number;
  started(): void;
  /** `route` is the route's pattern, never the path: this keeps the labels few and free of ids. */
  finished(method: string, route: string, status: number, seconds: number): void;
}

/**
 * The request metrics that all our processes share, in a new registry, with the process metrics of prom-client. Process gauges that end in
 * `_total` are left out: Prometheus reserves that suffix for counters, and the sum of `nodejs_active_resources` and its like gives the
 * same.
 */
export function createHttpMetrics(): HttpMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const what of ["handles", "requests", "resources"]) registry.removeSingleMetric(`nodejs_active_${what}_total`);
  const labelNames = ["method", "route", "status"] as const;
  const requests = new Counter({ name: "http_requests_total", help: "Requests answered", labelNames, registers: [registry] });
  const durations = new Histogram({
    name: "http_request_duration_seconds",
    help: "Time from the request's head to the end of the response",
    labelNames: ["method", "route"] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const running = new Gauge({ name: "http_requests_running", help: "Requests in progress", registers: [registry] });
  let begun = 0;
  return {
    registry,
    get begun() {
      return begun;
    },
    started() {
      begun++;
      running.inc();
    },
    finished(method, route, status, seconds) {
      running.dec();
      requests.inc({ method, route, status: String(status) });
      durations.observe({ method, route }, seconds);
    },
  };
}
