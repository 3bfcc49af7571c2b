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
  /** How many requests may run, each on a connection of its own: nothing waits for one. */
  limit: number;
  /** How many of them one tenant may have. */
  tenantLimit: number;
  /** How many of a tenant's are with the partition at once while other tenants ask; the others wait for their turn. */
  tenantConcurrency: number;
  metrics: GatewayMetrics;
}

/** What may be sent again at the same time: a fifth of what runs, or three. More would keep an upstream down that is about to come back. */
const retryShare = 0.2;
const leastRetries = 3;

/** Others ask as long as one of them came within this time. */
const othersMs = 1_000;
/** A turn comes after this time at the latest: what a tenant waits for may itself be slow. */
const longestWaitMs = 1_000;

/** A tenant's requests in a lane. */
interface TenantQuota {
  /** With those that wait. */
  running: number;
  sent: number;
  readonly waiting: Set<Permit>;
}

/** A request in a lane, from its entry on. */
export interface Permit {
  readonly tenantId: string;
  readonly begin: () => void;
  timer: NodeJS.Timeout | undefined;
}

/** The requests of one kind to one partition: how many there are, whose, and what is let in. */
export class Bulkhead {
  readonly pool: ConnectionPool;
  readonly #options: BulkheadOptions;
  readonly #byTenant = new Map<string, TenantQuota>();
  #running = 0;
  #retrying = 0;
  /** Whose request came last, when it came, and when the last one before came of any other tenant. */
  #latest = { tenantId: "", atMs: Number.NEGATIVE_INFINITY, otherAtMs: Number.NEGATIVE_INFINITY };

  constructor(options: BulkheadOptions) {
    this.pool = options.pool;
    this.#options = options;
  }

  /** Why another request of a tenant is refused now, as UNAVAILABLE; undefined when it may be sent. */
  rejection(tenantId: string): Problem | undefined {
    const { circuit, limit, tenantLimit } = this.#options;
    if (circuit.open) return this.#refuse("circuit", "The service is away for a moment; try again");
    if (this.#running >= limit) return this.#refuse("partition", "The service has more to do than it can; try again");
    if ((this.#byTenant.get(tenantId)?.running ?? 0) < tenantLimit) return undefined;
    return this.#refuse("tenant", `This tenant has ${tenantLimit} requests running already, which is its share; try again`);
  }

  /**
   * A request comes in; `begin` is called when it is its turn: at once, or when its tenant has enough with the partition already while others
   * ask, as soon as one of those has left. `leave` ends it, begun or not.
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

  /** Notes a request of a tenant. Tells whether any other tenant's came lately. */
  #othersAsk(tenantId: string): boolean {
    const latest = this.#latest;
    if (latest.tenantId !== tenantId) {
      latest.otherAtMs = latest.atMs;
      latest.tenantId = tenantId;
    }
    latest.atMs = performance.now();
    return latest.atMs - latest.otherAtMs < othersMs;
  }

  /** True when the budget allows one more request to be sent a second time; it then counts until it leaves. */
  tryRetry(): boolean {
    const { circuit, metrics, partition } = this.#options;
    if (circuit.open || this.#retrying >= Math.max(leastRetries, this.#running * retryShare)) return false;
    this.#retrying++;
    metrics.retried.inc({ partition });
    return true;
  }

  /** An answer has begun. */
  answered(): void {
    this.#options.circuit.succeeded();
  }

  /** An attempt came to nothing; `broken` ones had been answered in part. */
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
