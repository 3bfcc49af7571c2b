import { unavailable } from "@cell/problem";
import type { Access } from "./connection.ts";

interface Waiter<Pool, Place> {
  pool: Pool;
  /** Undefined for a place that belongs to no single tenant, such as a reader's. */
  access: Access | undefined;
  resolve(place: Place | Promise<Place>): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

/**
 * Requests that wait for a connection. The tenant that holds the fewest connections is served first, and among equals the first to arrive:
 * the many requests of one tenant wait behind each other.
 */
export class FairWaitQueue<Pool, Place> {
  readonly #waiters = new Set<Waiter<Pool, Place>>();
  readonly #waitMs: number;

  constructor(waitMs: number) {
    this.#waitMs = waitMs;
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  /** Waits for a place. Rejects with UNAVAILABLE after the time limit. */
  wait(pool: Pool, access: Access | undefined): Promise<Place> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#refuse(waiter), this.#waitMs);
      const waiter: Waiter<Pool, Place> = { pool, access, resolve, reject, timer };
      this.#waiters.add(waiter);
    });
  }

  /**
   * Serves waiters until `place` has nothing for any of them. `held`: number of connections that a waiter's tenant holds; undefined: it may
   * have no more.
   */
  serve(
    held: (pool: Pool, access: Access | undefined) => number | undefined,
    place: (pool: Pool, access: Access | undefined) => Place | Promise<Place> | undefined,
  ): void {
    const without = new Set<Pool>();
    for (;;) {
      let next: Waiter<Pool, Place> | undefined;
      let fewest = Number.POSITIVE_INFINITY;
      for (const waiter of this.#waiters) {
        if (without.has(waiter.pool)) continue;
        const count = held(waiter.pool, waiter.access) ?? Number.POSITIVE_INFINITY;
        if (count < fewest) [next, fewest] = [waiter, count];
      }
      if (!next) return;
      const found = place(next.pool, next.access);
      if (found === undefined) without.add(next.pool);
      else {
        this.#remove(next);
        next.resolve(found);
      }
    }
  }

  refuseAll(): void {
    for (const waiter of this.#waiters) this.#refuse(waiter);
  }

  #refuse(waiter: Waiter<Pool, Place>): void {
    this.#remove(waiter);
    waiter.reject(unavailable("All database connections are in use; try again"));
  }

  #remove(waiter: Waiter<Pool, Place>): void {
    clearTimeout(waiter.timer);
    this.#waiters.delete(waiter);
  }
}
