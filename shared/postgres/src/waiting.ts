import { unavailable } from "@cell/problem";
import type { Access } from "./connection.ts";

interface Waiter<Lane, Place> {
  lane: Lane;
  /** Undefined for a place that is of no one tenant, such as a reader's. */
  access: Access | undefined;
  resolve(place: Place | Promise<Place>): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

/** Who waits for a connection. The tenant that holds the fewest comes first, and among equals who came first: a crowd of one tenant's waits behind itself. */
export class WaitingLine<Lane, Place> {
  readonly #waiters = new Set<Waiter<Lane, Place>>();
  readonly #waitMs: number;

  constructor(waitMs: number) {
    this.#waitMs = waitMs;
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  /** Waits for a place. Rejects with UNAVAILABLE when none comes in time. */
  wait(lane: Lane, access: Access | undefined): Promise<Place> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#refuse(waiter), this.#waitMs);
      const waiter: Waiter<Lane, Place> = { lane, access, resolve, reject, timer };
      this.#waiters.add(waiter);
    });
  }

  /** Gives places to those who wait until `place` has none for anyone. `held`: how many a waiter's tenant holds; undefined: it may have no more. */
  serve(
    held: (lane: Lane, access: Access | undefined) => number | undefined,
    place: (lane: Lane, access: Access | undefined) => Place | Promise<Place> | undefined,
  ): void {
    const without = new Set<Lane>();
    for (;;) {
      let next: Waiter<Lane, Place> | undefined;
      let fewest = Number.POSITIVE_INFINITY;
      for (const waiter of this.#waiters) {
        if (without.has(waiter.lane)) continue;
        const count = held(waiter.lane, waiter.access) ?? Number.POSITIVE_INFINITY;
        if (count < fewest) [next, fewest] = [waiter, count];
      }
      if (!next) return;
      const found = place(next.lane, next.access);
      if (found === undefined) without.add(next.lane);
      else {
        this.#remove(next);
        next.resolve(found);
      }
    }
  }

  refuseAll(): void {
    for (const waiter of this.#waiters) this.#refuse(waiter);
  }

  #refuse(waiter: Waiter<Lane, Place>): void {
    this.#remove(waiter);
    waiter.reject(unavailable("All database connections are in use; try again"));
  }

  #remove(waiter: Waiter<Lane, Place>): void {
    clearTimeout(waiter.timer);
    this.#waiters.delete(waiter);
  }
}
