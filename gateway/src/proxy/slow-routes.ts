/** What holds for a route beyond what holds for all: see `LaneSizes` and `Timeouts`. */
export interface SlowRoute {
  /** Below the cell's prefix, with parameters in braces. */
  path: string;
  /** `streams`: it runs beside the tenant's other requests; `requests`: it is one of them, and takes turns with other tenants'. */
  bulkhead: "requests" | "streams";
  /** In bytes, instead of the limit of all others. */
  bodyLimit?: number;
}

const importBodyLimit = 64 * 1024 * 1024;

/** The routes that may take seconds by their nature. Their answers may begin after `slowHeadersMs`; all others have `headersMs`. */
const slowRoutes: readonly SlowRoute[] = [
  { path: "/{resource}/import", bulkhead: "streams", bodyLimit: importBodyLimit },
  { path: "/imports/{id}/revert", bulkhead: "streams" },
  { path: "/imports/{id}/errors.csv", bulkhead: "streams" },
  { path: "/{resource}/export", bulkhead: "streams" },
  { path: "/audit-logs/verify", bulkhead: "streams" },
  { path: "/pipeline/{report}", bulkhead: "requests" },
  { path: "/reports/{report}", bulkhead: "requests" },
  { path: "/opportunities/forecast", bulkhead: "requests" },
  { path: "/metrics", bulkhead: "requests" },
];

const sources = slowRoutes.map(({ path }) => path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+"));
const anyPattern = new RegExp(`^(?:${sources.join("|")})/?$`);
const patterns = sources.map((source) => new RegExp(`^${source}/?$`));

/** What holds for a slow route; undefined for all others. */
export function slowRouteOf(path: string): SlowRoute | undefined {
  return anyPattern.test(path) ? slowRoutes[patterns.findIndex((pattern) => pattern.test(path))] : undefined;
}
