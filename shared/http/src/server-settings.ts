import { parseAssertionKeys } from "./assertion.ts";
import { choice, integer, list, secretOf, text, url } from "./env.ts";
import type { MetricsAccess } from "./metrics-access.ts";

const defaultMetricsPort = 9090;

export const logLevel = choice("LOG_LEVEL", ["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
  default: "info",
  meaning: "Least severe messages that are logged; debug logs each request.",
});

/** Of the program's own role. */
export const databaseUrl = url("DATABASE_URL", {
  isRequired: true,
  isSecret: true,
  parse: String,
  meaning:
    "PostgreSQL 16, 17 or 18, as the program's own role: gateway for the gateway, the cell's name for a cell. No program needs a superuser.",
});

/** The settings that the gateway and every cell read: where they listen, who may call, the log, the metrics, how they stop. */
export function serverSettings(defaults: { port: number; drainMs: number }) {
  return {
    host: text("HOST", { default: "127.0.0.1", meaning: "Address on which the program listens." }),
    port: integer("PORT", { default: defaults.port, max: 65_535, meaning: "Port on which the program listens; 0 takes any free one." }),
    databaseUrl,
    assertionKeys: list("ASSERTION_KEYS", {
      isRequired: true,
      isSecret: true,
      parse: parseAssertionKeys,
      meaning:
        "Keys for the assertions between gateway and cells, each written id:base64url: the first one signs, all are accepted, so that keys rotate without a stop.",
    }),
    metricsPort: integer("METRICS_PORT", {
      max: 65_535,
      whenUnset: `${defaultMetricsPort}; with METRICS_TOKEN alone the main port`,
      meaning: "Port on which the metrics, and nothing else, are served.",
    }),
    metricsToken: text("METRICS_TOKEN", {
      isSecret: true,
      parse: secretOf(24),
      whenUnset: "everyone who reaches METRICS_PORT may read them",
      meaning: "Bearer token for the metrics, 24 characters or more; with the token alone they are on the main port.",
    }),
    logLevel,
    drainDelayMs: integer("DRAIN_DELAY_MS", {
      default: 0,
      unit: "ms",
      meaning: "Time between SIGTERM and the moment at which the program accepts no more connections.",
    }),
    drainMs: integer("DRAIN_TIMEOUT_MS", {
      default: defaults.drainMs,
      unit: "ms",
      meaning: "Time for running requests to finish after that.",
    }),
  };
}

interface MetricsSettings {
  port?: number | undefined;
  metricsPort?: number | undefined;
  metricsToken?: string | undefined;
}

/** Where the metrics are served: on port 9090 where neither a port nor a token is set. */
export function metricsAccessOf({ metricsPort, metricsToken: token }: MetricsSettings): MetricsAccess {
  return { port: metricsPort ?? (token === undefined ? defaultMetricsPort : undefined), token };
}

/** Reports a metrics port that is the main port too. */
export function checkMetricsPort(values: MetricsSettings, report: (name: string, fault: string) => void): void {
  const { port } = metricsAccessOf(values);
  if (port !== undefined && port !== 0 && port === values.port)
    report("METRICS_PORT", "must differ from PORT; to serve the metrics on PORT, set only METRICS_TOKEN");
}
