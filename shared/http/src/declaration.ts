import { isCellPermission, type Permission } from "./permissions.ts";

/**
 * Credential classes: API key, access token of the identity provider, session token, token of a tenant's customer, none (`public`), and the
 * sender's signature over a webhook's body.
 */
const credentialClasses = ["key", "jwt", "session", "customer", "public", "webhook"] as const;
export type CredentialClass = (typeof credentialClasses)[number];

/** Forms of the gateway's own errors. `detail` and `success` add the field of their name, `error` adds `success` and `error`. */
const errorForms = ["problem", "detail", "success", "error"] as const;
export type ErrorForm = (typeof errorForms)[number];

/** Bulkheads: `requests` is shared fairly among tenants, `streams` is for files and work of minutes, `events` for open streams and sockets. */
const bulkheadNames = ["requests", "streams", "events"] as const;
export type BulkheadName = (typeof bulkheadNames)[number];

/** A rate limit over a sliding window, in addition to the limits per second. Routes with the same name share it. */
export interface RateClass {
  name: string;
  windowSeconds: number;
  /** Requests per token and window. */
  token?: number;
  /** Requests per tenant and window. */
  tenant?: number;
  /** Requests per client address and window. */
  address?: number;
}

/** How the gateway treats requests to a route. */
export interface RoutePolicy {
  bodyLimitBytes: number;
  /** The response may begin after `SLOW_HEADERS_TIMEOUT_MS` instead of `HEADERS_TIMEOUT_MS`. */
  slow: boolean;
  bulkhead: BulkheadName;
  /** Whether the gateway passes on WebSocket upgrades. */
  upgrade: boolean;
  credentials: readonly CredentialClass[];
  /** Whether a request must have `X-Tenant-Id`. A header that is sent always has to agree with the credential. */
  tenantHeader: "required" | "optional";
  errorForm: ErrorForm;
  rateClass?: RateClass;
  /** Name of the webhook verifier at the gateway; only for the credential class `webhook`. */
  webhook?: string;
}

/** The policy of a route that declares none. */
export const closedPolicy: RoutePolicy = {
  bodyLimitBytes: 1024 * 1024,
  slow: false,
  bulkhead: "requests",
  upgrade: false,
  credentials: ["key", "jwt", "session"],
  tenantHeader: "required",
  errorForm: "problem",
};

/** A route of a cell, with the fields of its policy that differ from `closedPolicy`. */
export interface RouteDeclaration {
  /** In upper case. */
  method: string;
  /** The cell's own path, with parameters in braces. */
  path: string;
  policy?: Partial<RoutePolicy>;
}

/** What a cell declares to the gateway. */
export interface CellDeclaration {
  /** The cell's own permissions, besides the framework's. */
  permissions: readonly Permission[];
  /** Which of them each role has. */
  roles: Readonly<Record<string, readonly Permission[]>>;
  /** All routes. A route without a policy is listed too, because a pattern of another route could match its path. */
  routes: readonly RouteDeclaration[];
}

/** Path of a cell's declaration; only the gateway can read it. */
export const declarationPath = "/internal/declaration";

const pathPattern = /^(?:\/|(?:\/(?:[A-Za-z0-9._~-]+|\{\w+\}))+)$/;
const namePattern = /^[a-z][a-z0-9-]{0,40}$/;
const largestBodyBytes = 1024 * 1024 * 1024;

/**
 * Parses a declaration. Unknown fields are ignored, because the cell may be newer; absent fields count as empty. An invalid policy or
 * permission is left out and reported in `faults`. Throws an Error when the value has not the form of a declaration.
 */
export function parseDeclaration(value: unknown): { declaration: CellDeclaration; faults: string[] } {
  const { permissions = [], roles = {}, routes = [] } = recordOf(value, "the declaration");
  const faults: string[] = [];
  const own = textsOf(permissions, "permissions").filter((permission): permission is Permission => {
    if (isCellPermission(permission)) return true;
    faults.push(`${permission} is not a permission that a cell can declare`);
    return false;
  });
  const declaration = {
    permissions: own,
    roles: Object.fromEntries(
      Object.entries(recordOf(roles, "roles")).map(([role, given]) => {
        const held = textsOf(given, `roles.${role}`);
        for (const permission of held)
          if (!own.includes(permission as Permission)) faults.push(`the role ${role} cannot have ${permission}: it is not the cell's`);
        return [role, own.filter((permission) => held.includes(permission))];
      }),
    ),
    routes: listOf(routes, "routes").map((route) => parseRoute(route, faults)),
  };
  return { declaration, faults };
}

function parseRoute(value: unknown, faults: string[]): RouteDeclaration {
  const { method, path, policy } = recordOf(value, "a route");
  if (typeof method !== "string" || !/^[A-Z]{3,10}$/.test(method)) throw new Error("a route has no method");
  if (typeof path !== "string" || !pathPattern.test(path)) throw new Error(`${method} ${path} has no path that can be read`);
  if (policy === undefined) return { method, path };
  try {
    return { method, path, policy: parsePolicy(recordOf(policy, "its policy")) };
  } catch (error) {
    faults.push(`${method} ${path}: ${(error as Error).message}`);
    return { method, path };
  }
}

/** Throws an Error that names the invalid field. */
function parsePolicy(given: Record<string, unknown>): Partial<RoutePolicy> {
  const { bodyLimitBytes, slow, bulkhead, upgrade, credentials, tenantHeader, errorForm, rateClass, webhook } = given;
  const policy: Partial<RoutePolicy> = {};
  if (bodyLimitBytes !== undefined) policy.bodyLimitBytes = integerOf(bodyLimitBytes, "bodyLimitBytes", largestBodyBytes);
  if (slow !== undefined) policy.slow = booleanOf(slow, "slow");
  if (upgrade !== undefined) policy.upgrade = booleanOf(upgrade, "upgrade");
  if (bulkhead !== undefined) policy.bulkhead = oneOf(bulkhead, bulkheadNames, "bulkhead");
  if (tenantHeader !== undefined) policy.tenantHeader = oneOf(tenantHeader, ["required", "optional"] as const, "tenantHeader");
  if (errorForm !== undefined) policy.errorForm = oneOf(errorForm, errorForms, "errorForm");
  if (credentials !== undefined)
    policy.credentials = listOf(credentials, "credentials").map((name) => oneOf(name, credentialClasses, "credentials"));
  if (webhook !== undefined) policy.webhook = nameOf(webhook, "webhook");
  if ((policy.webhook !== undefined) !== (policy.credentials?.includes("webhook") ?? false))
    throw new Error("webhook belongs to the credential class webhook, which takes no other beside it");
  if (policy.webhook !== undefined && policy.credentials?.length !== 1) throw new Error("a webhook takes no other credential");
  if (rateClass !== undefined) policy.rateClass = parseRateClass(recordOf(rateClass, "rateClass"));
  return policy;
}

function parseRateClass({ name, windowSeconds, token, tenant, address }: Record<string, unknown>): RateClass {
  const limit = (value: unknown, field: string) => (value === undefined ? {} : { [field]: integerOf(value, field, 1_000_000_000) });
  return {
    name: nameOf(name, "rateClass.name"),
    windowSeconds: integerOf(windowSeconds, "rateClass.windowSeconds", 24 * 60 * 60),
    ...limit(token, "token"),
    ...limit(tenant, "tenant"),
    ...limit(address, "address"),
  };
}

function recordOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${what} must be an object`);
  return value as Record<string, unknown>;
}

function listOf(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new Error(`${what} must be a list`);
  return value;
}

function textsOf(value: unknown, what: string): string[] {
  return listOf(value, what).map((text) => {
    if (typeof text !== "string") throw new Error(`${what} must be a list of texts`);
    return text;
  });
}

function integerOf(value: unknown, what: string, max: number): number {
  if (!Number.isInteger(value) || Number(value) < 1 || Number(value) > max)
    throw new Error(`${what} must be a whole number from 1 to ${max}`);
  return Number(value);
}

function booleanOf(value: unknown, what: string): boolean {
  if (typeof value !== "boolean") throw new Error(`${what} must be true or false`);
  return value;
}

function nameOf(value: unknown, what: string): string {
  if (typeof value !== "string" || !namePattern.test(value)) throw new Error(`${what} must be a name of a-z, 0-9 and hyphens`);
  return value;
}

function oneOf<const T extends string>(value: unknown, allowed: readonly T[], what: string): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw new Error(`${what} must be one of ${allowed.join(", ")}`);
  return found;
}
