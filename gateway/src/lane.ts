import { type Problem, unavailable } from "@cell/problem";
import type { Circuit } from "./circuit.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Fault } from "./transport/connection.ts";
import type { ConnectionPool } from "./transport/pool.ts";

export interface LaneOptions {
  pool: ConnectionPool;
  circuit: Circuit;
  /** The partition's name, for the metrics. */
  partition: string;
  /** How many requests may run, each on a connection of its own: nothing waits for one. */
  limit: number;
  /** How many of them one tenant may have. */
  tenantLimit: number;
  metrics: GatewayMetrics;
}

/** What may be sent again at the same time: a fifth of what runs, or three. More would keep an upstream down that is about to come back. */
const retryShare = 0.2;
const leastRetries = 3;

/** The requests of one kind to one partition: how many there are, whose, and what is let in. */
export class Lane {
  readonly pool: ConnectionPool;
  readonly #options: LaneOptions;
  readonly #byTenant = new Map<string, number>();
  #running = 0;
  #retrying = 0;

  constructor(options: LaneOptions) {
    this.pool = options.pool;
    this.#options = options;
  }

  /** Why another request of a tenant is refused now, as UNAVAILABLE; undefined when it may be sent. */
  refusal(tenantId: string): Problem | undefined {
    const { circuit, limit, tenantLimit } = this.#options;
    if (circuit.open) return this.#refuse("circuit", "The service is away for a moment; try again");
    if (this.#running >= limit) return this.#refuse("partition", "The service has more to do than it can; try again");
    if ((this.#byTenant.get(tenantId) ?? 0) < tenantLimit) return undefined;
    return this.#refuse("tenant", `This tenant has ${tenantLimit} requests running already, which is its share; try again`);
  }

  /** A request begins; `leave` ends it. */
  enter(tenantId: string): void {
    this.#running++;
    this.#byTenant.set(tenantId, (this.#byTenant.get(tenantId) ?? 0) + 1);
  }

  leave(tenantId: string, retried: boolean): void {
    this.#running--;
    if (retried) this.#retrying--;
    const others = (this.#byTenant.get(tenantId) ?? 0) - 1;
    if (others > 0) this.#byTenant.set(tenantId, others);
    else this.#byTenant.delete(tenantId);
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
    if (kind !== "broken") circuit.failed();
  }

  #refuse(reason: "circuit" | "partition" | "tenant", message: string): Problem {
    this.#options.metrics.shed.inc({ partition: this.#options.partition, reason });
    return unavailable(message);
  }
}
