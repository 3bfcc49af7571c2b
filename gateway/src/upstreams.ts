import { Pool } from "undici";
import type { Timeouts } from "./config.ts";

/** Connections to one partition of a cell. */
export interface Lane {
  readonly pool: Pool;
  /** Requests sent or waiting that have no end yet. */
  running: number;
  /** With this many, another one would only wait in vain. */
  readonly limit: number;
}

/** Streams have connections of their own, so that slow bodies and event streams do not hold up the rest. */
export interface Upstream {
  readonly requests: Lane;
  readonly streams: Lane;
}

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
      upstream = { requests: this.#open(url, 64, 512), streams: this.#open(url, 256, 256) };
      this.#byUrl.set(url, upstream);
    }
    return upstream;
  }

  /** Cuts all connections. */
  async close(): Promise<void> {
    await Promise.all([...this.#byUrl.values()].flatMap(({ requests, streams }) => [requests.pool.destroy(), streams.pool.destroy()]));
  }

  #open(url: string, connections: number, limit: number): Lane {
    const { connectMs, headersMs, bodyIdleMs } = this.#timeouts;
    const pool = new Pool(url, {
      connections,
      pipelining: 1,
      connect: { timeout: connectMs },
      headersTimeout: headersMs,
      bodyTimeout: bodyIdleMs,
    });
    return { pool, running: 0, limit };
  }
}
