import { Problem } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type { GatewayMetrics } from "../metrics.ts";
import { networkOf } from "./client-address.ts";

export interface AttemptLimits {
  /** Failures that an address may have at once. */
  burst: number;
  /** Failures per minute in the long run. */
  perMinute: number;
}

interface Failures {
  count: number;
  atMs: number;
}

const addressLimit = 50_000;

/** Counts failed attempts by network; they decay over time. */
export class FailedAttempts {
  readonly #limits: AttemptLimits;
  readonly #metrics: GatewayMetrics;
  readonly #byNetwork = new LRUCache<string, Failures>({ max: addressLimit });

  constructor(limits: AttemptLimits, metrics: GatewayMetrics) {
    this.#limits = limits;
    this.#metrics = metrics;
  }

  /** Throws RATE_LIMITED with `Retry-After` while an address has used up its attempts. */
  check(address: string): void {
    const { burst, perMinute } = this.#limits;
    const excess = this.#remaining(networkOf(address)) - burst + 1;
    if (excess <= 0) return;
    this.#metrics.rateLimited.inc({ limit: "attempts" });
    throw new Problem("RATE_LIMITED", "Too many failed attempts from your address; wait before the next one", {
      headers: { "retry-after": String(Math.ceil((excess / perMinute) * 60)) },
    });
  }

  /** Records a failure. Concurrent failures may exceed the burst, by as much again at most, which extends the wait. */
  failed(address: string): void {
    const network = networkOf(address);
    this.#byNetwork.set(network, { count: Math.min(this.#remaining(network) + 1, 2 * this.#limits.burst), atMs: performance.now() });
  }

  /** The failures that have not decayed yet. */
  #remaining(network: string): number {
    const failures = this.#byNetwork.get(network);
    if (failures === undefined) return 0;
    return Math.max(0, failures.count - ((performance.now() - failures.atMs) / 60_000) * this.#limits.perMinute);
  }
}
