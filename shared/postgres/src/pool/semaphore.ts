interface Waiter {
  resolve(release: () => void): void;
  timer: NodeJS.Timeout | undefined;
}

interface Permits {
  held: number;
  readonly waiting: Set<Waiter>;
}

/** Grants up to `limit` permits per key; waiters are served in the order of arrival. */
export class KeyedSemaphore {
  readonly limit: number;
  readonly #permits = new Map<string, Permits>();

  constructor(limit: number) {
    this.limit = limit;
  }

  /** A permit's release, or undefined when all permits of the key are held. */
  tryAcquire(key: string): (() => void) | undefined {
    const permits = this.#of(key);
    if (permits.held >= this.limit) return undefined;
    permits.held++;
    return this.#releaseOf(key, permits);
  }

  /** Waits for a permit; resolves to its release, or to undefined when none was free within `waitMs`. */
  acquire(key: string, waitMs?: number): Promise<(() => void) | undefined> {
    const free = this.tryAcquire(key);
    if (free) return Promise.resolve(free);
    const { waiting } = this.#of(key);
    return new Promise((resolve) => {
      const waiter: Waiter = { resolve, timer: undefined };
      if (waitMs !== undefined) {
        waiter.timer = setTimeout(() => {
          waiting.delete(waiter);
          resolve(undefined);
        }, waitMs);
      }
      waiting.add(waiter);
    });
  }

  #of(key: string): Permits {
    let permits = this.#permits.get(key);
    if (!permits) {
      permits = { held: 0, waiting: new Set() };
      this.#permits.set(key, permits);
    }
    return permits;
  }

  #releaseOf(key: string, permits: Permits): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const [next] = permits.waiting;
      if (next) {
        permits.waiting.delete(next);
        clearTimeout(next.timer);
        next.resolve(this.#releaseOf(key, permits));
      } else if (--permits.held === 0) this.#permits.delete(key);
    };
  }
}
