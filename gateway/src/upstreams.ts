import { unavailable } from "@cell/problem";
import { Pool } from "undici";
import type { Timeouts } from "./config.ts";

/** The connections to one partition of a cell. Streams have their own, so that slow bodies and event streams do not hold up the rest. */
export interface Upstream {
  requests: Pool;
  streams: Pool;
}

const requestConnections = 64;
const streamConnections = 256;
/** More waiting than this means that the partition cannot keep up. */
const queueLimit = 512;

/** The partitions' connections by address; opened when first used. */
export class Upstreams {
  readonly #byUrl = new Map<string, Upstream>();
  readonly #timeouts: Timeouts;

  constructor(timeouts: Timeouts) {
    this.#timeouts = timeouts;
  }

  get(url: string): Upstream {
    let upstream = this.#byUrl.get(url);
    if (!upstream) {
      upstream = { requests: this.#open(url, requestConnections), streams: this.#open(url, streamConnections) };
      this.#byUrl.set(url, upstream);
    }
    return upstream;
  }

  /** Cuts all connections. */
  async close(): Promise<void> {
    await Promise.all([...this.#byUrl.values()].flatMap(({ requests, streams }) => [requests.destroy(), streams.destroy()]));
  }

  #open(url: string, connections: number): Pool {
    const { connectMs, headersMs, bodyIdleMs } = this.#timeouts;
    return new Pool(url, {
      connections,
      pipelining: 1,
      connect: { timeout: connectMs },
      headersTimeout: headersMs,
      bodyTimeout: bodyIdleMs,
    });
  }
}

/** Throws UNAVAILABLE when so much is waiting that another request would only wait in vain. */
export function shed(pool: Pool): void {
  if (pool.stats.queued > queueLimit) throw unavailable("The service has more to do than it can; try again");
}
