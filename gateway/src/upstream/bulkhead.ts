import { type Problem, unavailable } from "@cell/problem";
import type { GatewayMetrics } from "../metrics.ts";
import type { Fault } from "../proxy/http1/connection.ts";
import type { ConnectionPool } from "../proxy/http1/pool.ts";
import type { CircuitBreaker } from "./circuit-breaker.ts";

export interface BulkheadOptions {
  pool: ConnectionPool;
  circuit: CircuitBreaker;
  /** The partition's name, for the metrics. */
  partition: string;
  /** Maximum of concurrent requests, each on its own connection: none waits for one. */
  limit: number;
  /** Maximum of concurrent requests of one tenant. */
  tenantLimit: number;
  /** Concurrent requests of one tenant at the partition while other tenants send some; further ones wait. */
  tenantConcurrency: number;
  metrics: GatewayMetrics;
}

/** Retry budget: a fifth of the running requests, or three. More would keep a recovering upstream down. */
const retryShare = 0.2;
const leastRetries = 3;

/** Other tenants count as active for this time after a request. */
const othersMs = 1_000;
/** Maximum wait: the tenant's own running requests may be slow. */
const longestWaitMs = 1_000;

/** A tenant's requests in a bulkhead. */
interface TenantQuota {
  /** Includes waiting ones. */
  running: number;
  sent: number;
  readonly waiting: Set<Permit>;
}

/** A request in a bulkhead, from its entry on. */
export interface Permit {
  readonly tenantId: string;
  readonly begin: () => void;
  timer: NodeJS.Timeout | undefined;
}

/** The requests of one kind to one partition: limits their number in total and per tenant. */
export class Bulkhead {
  readonly pool: ConnectionPool;
  readonly #options: BulkheadOptions;
  readonly #byTenant = new Map<string, TenantQuota>();
  #running = 0;
  #retrying = 0;
  /** Tenant and time of the last request, and the time of the last one from any other tenant. */
  #latest = { tenantId: "", atMs: Number.NEGATIVE_INFINITY, otherAtMs: Number.NEGATIVE_INFINITY };

  constructor(options: BulkheadOptions) {
    this.pool = options.pool;
    this.#options = options;
  }

  /** Why another request of a tenant is rejected now, as UNAVAILABLE; undefined if it may be sent. */
  rejection(tenantId: string): Problem | undefined {
    const { circuit, limit, tenantLimit } = this.#options;
    if (circuit.open) return this.#refuse("circuit", "The service is not reachable for a moment; try again");
    if (this.#running >= limit) return this.#refuse("partition", "The service is overloaded; try again");
    if ((this.#byTenant.get(tenantId)?.running ?? 0) < tenantLimit) return undefined;
    return this.#refuse("tenant", `This tenant already has ${tenantLimit} running requests, which is its limit; try again`);
  }

  /**
   * Admits a request. `begin` is called immediately or, if its tenant uses its concurrency while others are active, as soon as one of its
   * requests has left. `leave` ends it, begun or not.
   */
  enter(tenantId: string, begin: () => void): Permit {
    let quota = this.#byTenant.get(tenantId);
    if (!quota) {
      quota = { running: 0, sent: 0, waiting: new Set() };
      this.#byTenant.set(tenantId, quota);
    }
    this.#running++;
    quota.running++;
    const permit: Permit = { tenantId, begin, timer: undefined };
    const othersAsk = this.#othersAsk(tenantId);
    if (!othersAsk) for (const waiting of quota.waiting) this.#begin(quota, waiting);
    if (quota.sent < this.#options.tenantConcurrency || !othersAsk) {
      quota.sent++;
      begin();
    } else {
      quota.waiting.add(permit);
      permit.timer = setTimeout(() => this.#begin(quota, permit), longestWaitMs);
      this.#options.metrics.waited.inc({ partition: this.#options.partition });
    }
    return permit;
  }

  release(permit: Permit, retried: boolean): void {
    const { tenantId } = permit;
    this.#running--;
    if (retried) this.#retrying--;
    const quota = this.#byTenant.get(tenantId);
    if (!quota) return;
    if (--quota.running === 0) this.#byTenant.delete(tenantId);
    if (quota.waiting.delete(permit)) {
      clearTimeout(permit.timer);
      return;
    }
    quota.sent--;
    const [next] = quota.waiting;
    if (next && quota.sent < this.#options.tenantConcurrency) this.#begin(quota, next);
  }

  #begin(quota: TenantQuota, permit: Permit): void {
    quota.waiting.delete(permit);
    clearTimeout(permit.timer);
    quota.sent++;
    permit.begin();
  }

  /** Records a request of a tenant. Returns whether any other tenant was active recently. */
  #othersAsk(tenantId: string): boolean {
    const latest = this.#latest;
    if (latest.tenantId !== tenantId) {
      latest.otherAtMs = latest.atMs;
      latest.tenantId = tenantId;
    }
    latest.atMs = performance.now();
    return latest.atMs - latest.otherAtMs < othersMs;
  }

  /** True if the budget allows another retry, which counts until it leaves. */
  tryRetry(): boolean {
    const { circuit, metrics, partition } = this.#options;
    if (circuit.open || this.#retrying >= Math.max(leastRetries, this.#running * retryShare)) return false;
    this.#retrying++;
    metrics.retried.inc({ partition });
    return true;
  }

  /** A response has begun. */
  answered(): void {
    this.#options.circuit.succeeded();
  }

  /** An attempt failed; `broken` ones failed within the response. */
  failed(kind: Fault | "broken"): void {
    const { circuit, metrics, partition } = this.#options;
    metrics.failed.inc({ partition, kind });
    if (kind === "connect") circuit.failed();
    else if (kind === "connect_timeout") circuit.unreached();
    else if (kind === "reset" || kind === "malformed") circuit.cutOff();
  }

  #refuse(reason: "circuit" | "partition" | "tenant", message: string): Problem {
    this.#options.metrics.shed.inc({ partition: this.#options.partition, reason });
    return unavailable(message);
  }
}
