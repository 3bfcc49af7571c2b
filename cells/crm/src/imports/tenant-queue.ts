import { Problem } from "@cell/problem";

export interface TenantQueueOptions {
  /** How long one waits for one's turn. */
  waitMs: number;
  /** How many of one tenant may wait. */
  waiting: number;
  what: string;
}

/** What one tenant does once at a time in this process: others of it wait their turn for a while. */
export class TenantQueue {
  readonly #options: TenantQueueOptions;
  /** Those who wait, by the tenants of which one has its turn. */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(options: TenantQueueOptions) {
    this.#options = options;
  }

  /** Resolves to what ends the turn, which does no harm twice. Rejects with RATE_LIMITED where it does not come in time. */
  async take(tenantId: string): Promise<() => void> {
    const waiting = this.#waiting.get(tenantId);
    if (!waiting) this.#waiting.set(tenantId, []);
    else if (waiting.length >= this.#options.waiting) throw this.#rejection();
    else await this.#wait(waiting);
    let isOver = false;
    return () => {
      if (!isOver) this.#next(tenantId);
      isOver = true;
    };
  }

  #next(tenantId: string): void {
    const next = this.#waiting.get(tenantId)?.shift();
    if (next) next();
    else this.#waiting.delete(tenantId);
  }

  #wait(waiting: (() => void)[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(begin), 1);
        reject(this.#rejection());
      }, this.#options.waitMs);
      waiting.push(begin);
    });
  }

  #rejection(): Problem {
    const { what, waitMs } = this.#options;
    return new Problem("RATE_LIMITED", `Another ${what} of this tenant is being read; send one at a time`, {
      headers: { "retry-after": String(Math.ceil(waitMs / 1000)) },
    });
  }
}
