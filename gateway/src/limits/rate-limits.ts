import type { RateClass } from "@cell/http";
import { Problem } from "@cell/problem";
import type { Access } from "../auth/access.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { SlidingWindows } from "./sliding-windows.ts";

/** Requests per second; 0: no limit. */
export interface Rates {
  token: number;
  tenant: number;
}

type LimitName = keyof Rates;

/** Size of a bucket in seconds of its rate. An unused bucket is full after this time. */
const burstSeconds = 2;
const fewBuckets = 1_000;

interface Bucket {
  rate: number;
  /** Its `RateLimit-Policy`. */
  policy: string;
  /** Requests that are allowed now. */
  tokens: number;
  refilledAtMs: number;
}

/** The buckets of one kind of limit. Full ones are dropped when there are many: a new one is equal. */
class Buckets {
  readonly name: LimitName;
  readonly #byKey = new Map<string, Bucket>();
  #sweepSize = fewBuckets;

  constructor(name: LimitName) {
    this.name = name;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** The bucket, refilled up to now; undefined without a limit. */
  refilled(key: string, rate: number, nowMs: number): Bucket | undefined {
    if (rate === 0) return undefined;
    const bucket = this.#byKey.get(key);
    if (bucket === undefined || bucket.rate !== rate) return this.#open(key, rate, nowMs);
    bucket.tokens = Math.min(rate * burstSeconds, bucket.tokens + ((nowMs - bucket.refilledAtMs) / 1000) * rate);
    bucket.refilledAtMs = nowMs;
    return bucket;
  }

  #open(key: string, rate: number, nowMs: number): Bucket {
    if (this.#byKey.size >= this.#sweepSize) this.#sweep(nowMs);
    const quota = rate * burstSeconds;
    const bucket = { rate, policy: `"${this.name}";q=${quota};w=${burstSeconds}`, tokens: quota, refilledAtMs: nowMs };
    this.#byKey.set(key, bucket);
    return bucket;
  }

  #sweep(nowMs: number): void {
    for (const [key, { refilledAtMs }] of this.#byKey) if (nowMs - refilledAtMs >= burstSeconds * 1000) this.#byKey.delete(key);
    this.#sweepSize = Math.max(fewBuckets, 2 * this.#byKey.size);
  }
}

/** Token buckets per token and per tenant, in memory: each gateway process counts by itself. */
export class RateLimits {
  readonly #rates: Rates;
  readonly #metrics: GatewayMetrics;
  readonly #tokens = new Buckets("token");
  readonly #tenants = new Buckets("tenant");
  readonly #classes: SlidingWindows;

  constructor(rates: Rates, metrics: GatewayMetrics) {
    this.#rates = rates;
    this.#metrics = metrics;
    this.#classes = new SlidingWindows(metrics);
  }

  /** Number of buckets in memory. */
  get size(): number {
    return this.#tokens.size + this.#tenants.size;
  }

  /**
   * Counts a request for a token and its tenant; the tenant's own rate replaces the default. Returns the response's headers, names and
   * values alternating (draft-ietf-httpapi-ratelimit-headers-10). Throws RATE_LIMITED, without counting, if either has no requests left.
   */
  take(tokenId: string, tenantId: string, tenantRate: number | null = null, nowMs = performance.now()): readonly string[] {
    const ofToken = this.#tokens.refilled(tokenId, this.#rates.token, nowMs);
    const ofTenant = this.#tenants.refilled(tenantId, tenantRate ?? this.#rates.tenant, nowMs);
    if (ofToken && ofToken.tokens < 1) throw this.#rejection("token", ofToken);
    if (ofTenant && ofTenant.tokens < 1) throw this.#rejection("tenant", ofTenant);
    if (ofToken) ofToken.tokens--;
    if (ofTenant) ofTenant.tokens--;
    if (ofToken && ofTenant)
      return headers(`${ofToken.policy}, ${ofTenant.policy}`, `${state("token", ofToken)}, ${state("tenant", ofTenant)}`);
    if (ofToken) return headers(ofToken.policy, state("token", ofToken));
    return ofTenant ? headers(ofTenant.policy, state("tenant", ofTenant)) : [];
  }

  /** The same for a route with a rate class: its windows count besides the limits per second. */
  takeWithClass(rateClass: RateClass, { tokenId, principal, rateLimit }: Access, address: string): readonly string[] {
    const { tenantId } = principal;
    const perSecond = this.take(tokenId, tenantId, rateLimit);
    const { policy, state } = this.#classes.take(rateClass, { token: tokenId, tenant: tenantId, address });
    const [, policies = "", , states = ""] = perSecond;
    return headers([policies, policy].filter(Boolean).join(", "), [states, state].filter(Boolean).join(", "));
  }

  #rejection(limit: LimitName, { rate, policy, tokens }: Bucket): Problem {
    this.#metrics.rateLimited.inc({ limit });
    const waitMs = ((1 - tokens) / rate) * 1000;
    const retryAfter = Math.ceil(waitMs / 1000);
    const whose = limit === "token" ? "This token" : "This tenant";
    return new Problem("RATE_LIMITED", `${whose} may send ${rate} requests per second; try again in ${retryAfter} s`, {
      details: { limit, requestsPerSecond: rate, burst: rate * burstSeconds, freeAt: new Date(Date.now() + waitMs).toISOString() },
      headers: { "retry-after": String(retryAfter), "ratelimit-policy": policy, ratelimit: `"${limit}";r=0;t=${retryAfter}` },
    });
  }
}

function headers(policy: string, remaining: string): readonly string[] {
  return ["ratelimit-policy", policy, "ratelimit", remaining];
}

/** Remaining requests, and the seconds until the bucket is full again. */
function state(limit: LimitName, { rate, tokens }: Bucket): string {
  return `"${limit}";r=${Math.floor(tokens)};t=${Math.ceil(burstSeconds - tokens / rate)}`;
}
