import { Problem } from "@cell/problem";

export interface TenantQueueOptions {
  /** How long a task waits for its turn. */
  waitMs: number;
  /** How many tasks of one tenant may wait. */
  waiting: number;
  what: string;
}

/** Runs one task per tenant at a time in this process; further ones wait for a limited time. */
export class TenantQueue {
  readonly #options: TenantQueueOptions;
  /** The waiting tasks by tenant, for tenants with a running task. */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(options: TenantQueueOptions) {
    this.#options = options;
  }

  /** Resolves to the release of the turn, which is idempotent. Rejects with RATE_LIMITED after the time limit. */
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
