import { type CredentialClass, closedPolicy, type RouteDeclaration, type RoutePolicy } from "@cell/http";

/** The policies of one path, by method. */
type MethodPolicies = ReadonlyMap<string, RoutePolicy>;

interface PatternPolicies {
  pattern: RegExp;
  methods: MethodPolicies;
}

const parameter = /\{\w+\}/;
/** A public route accepts every credential, since programs may send theirs anyway. */
const openCredentials: readonly CredentialClass[] = ["key", "jwt", "session", "customer", "public"];

/**
 * The policies of a cell's routes, compiled for the request path: one lookup by the path, and one pattern for all paths with parameters.
 */
export class RoutePolicies {
  readonly #byPath = new Map<string, MethodPolicies>();
  readonly #anyPattern: RegExp | undefined;
  readonly #patterns: readonly PatternPolicies[];

  constructor(routes: readonly RouteDeclaration[]) {
    const methodsByPath = new Map<string, Map<string, RoutePolicy>>();
    for (const { method, path, policy } of routes) {
      const methods = methodsByPath.get(path) ?? new Map<string, RoutePolicy>();
      methodsByPath.set(path, methods);
      if (!methods.has(method)) methods.set(method, completePolicy(policy));
    }
    for (const methods of methodsByPath.values()) {
      const ofGet = methods.get("GET");
      if (ofGet && !methods.has("HEAD")) methods.set("HEAD", ofGet);
    }
    const paths = [...methodsByPath.keys()];
    const declaring = new Set(routes.filter(({ policy }) => policy !== undefined).map(({ path }) => path));
    // A route without a policy only matters if a pattern with one would match its paths; all others are closed without a lookup.
    const relevant = paths.filter((path) => declaring.has(path) || [...declaring].some((other) => overlaps(path, other)));
    for (const path of relevant.filter((path) => !parameter.test(path))) {
      const methods = methodsByPath.get(path) as MethodPolicies;
      this.#byPath.set(path, methods);
      if (path !== "/") this.#byPath.set(`${path}/`, methods);
    }
    const withParameters = relevant.filter((path) => parameter.test(path)).sort(bySpecificity);
    const sources = withParameters.map((path) => path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+"));
    this.#patterns = withParameters.map((path, index) => ({
      pattern: new RegExp(`^${sources[index]}/?$`),
      methods: methodsByPath.get(path) as MethodPolicies,
    }));
    this.#anyPattern = sources.length === 0 ? undefined : new RegExp(`^(?:${sources.join("|")})/?$`);
  }

  /** The policy of a route; `closedPolicy` if the cell declares none. `path`: the cell's own, decoded. */
  of(method: string, path: string): RoutePolicy {
    const methods = this.#byPath.get(path);
    if (methods) return methods.get(method) ?? closedPolicy;
    if (!this.#anyPattern?.test(path)) return closedPolicy;
    return this.#patterns.find(({ pattern }) => pattern.test(path))?.methods.get(method) ?? closedPolicy;
  }
}

function completePolicy(declared: Partial<RoutePolicy> | undefined): RoutePolicy {
  if (declared === undefined) return closedPolicy;
  const policy = { ...closedPolicy, ...declared };
  return policy.credentials.includes("public") ? { ...policy, credentials: openCredentials } : policy;
}

/** Whether some path matches both. */
function overlaps(one: string, other: string): boolean {
  const [segments, others] = [one.split("/"), other.split("/")];
  if (segments.length !== others.length) return false;
  return segments.every((segment, index) => {
    const beside = others[index] as string;
    return segment === beside || parameter.test(segment) || parameter.test(beside);
  });
}

/** Like routers: at the first differing segment, a fixed one goes before a parameter. */
function bySpecificity(one: string, other: string): number {
  const [segments, others] = [one.split("/"), other.split("/")];
  const differing = segments.findIndex((segment, index) => parameter.test(segment) !== parameter.test(others[index] ?? ""));
  return differing < 0 ? 0 : parameter.test(segments[differing] as string) ? 1 : -1;
}
