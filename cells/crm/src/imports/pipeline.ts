/**
 * Overlaps the stages of one transaction's work: items begin while earlier ones are still under way, at most `depth` at once, and are
 * settled one by one in their order. After the first failure nothing more is settled.
 */
export class Pipeline {
  readonly #depth: number;
  /** The items that began last, the oldest first. */
  readonly #begun: Promise<unknown>[] = [];
  readonly #pending = new Set<Promise<unknown>>();
  #settled: Promise<unknown> = Promise.resolve();
  /** The one that came first: those after it are its consequences. */
  #failure: { error: unknown } | undefined;

  constructor(depth: number) {
    this.#depth = depth;
  }

  /**
   * Begins an item as soon as fewer than `depth` are under way, and has its result settled after the items before it. Resolves when it has
   * begun. Rejects when an item before it has failed.
   */
  async push<T>(begin: () => Promise<T>, settle: (result: T) => Promise<void>): Promise<void> {
    if (this.#begun.length === this.#depth) await this.#begun.shift();
    const item = this.track(begin());
    this.#begun.push(item);
    this.settle(async () => settle(await item));
  }

  /** Does work in its place among what is settled: after everything before it. */
  settle(work: () => Promise<void>): void {
    this.#settled = this.track(this.#settled.then(work));
  }

  /** Makes `end` wait for work that goes on beside the items, and reject if it fails. Returns the work. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#pending.add(work);
    work
      .catch((error) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#pending.delete(work));
    return work;
  }

  /** Resolves when nothing is under way any more. Rejects with the first failure, also only then. */
  async end(): Promise<void> {
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
    if (this.#failure) throw this.#failure.error;
  }
}
