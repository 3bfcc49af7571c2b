import { Connection, type ResponseHandler, type UpstreamRequest } from "./connection.ts";

export interface PoolOptions {
  /** Time to connect, in ms. */
  connectMs: number;
  /** Time between two pieces of a response, in ms. */
  bodyIdleMs: number;
  /** Called at each check of the connections while a response is overdue. */
  unanswered?(nowMs: number): void;
}

/** Granularity of time limits, in ms: one check of all connections costs less than a timer per request. */
const tickMs = 50;

/** Connections to one cell, one per concurrent request; the bulkhead limits their number. */
export class ConnectionPool {
  readonly #url: URL;
  readonly #options: PoolOptions;
  readonly #free: Connection[] = [];
  readonly #busy = new Set<Connection>();
  #ticker: NodeJS.Timeout | undefined;

  /** `url`: `http://host:port`. */
  constructor(url: string, options: PoolOptions) {
    this.#url = new URL(url);
    this.#options = options;
  }

  /** Sends a request on a free connection or a new one. Returns the connection, to pause it, or to destroy it when the caller has left. */
  send(request: UpstreamRequest, handler: ResponseHandler): Connection {
    const connection = this.#takeFree() ?? this.#open();
    this.#busy.add(connection);
    this.#ticker ??= setInterval(() => this.#tick(), tickMs).unref();
    connection.send(request, handler);
    return connection;
  }

  /** Connections may be dead without having been closed: closes free ones, and reduces the time limit of awaited responses. */
  distrust(headersMs: number): void {
    for (const connection of this.#free.splice(0)) connection.destroy();
    for (const connection of this.#busy) connection.shorten(headersMs);
  }

  /** Destroys all connections. */
  destroy(): void {
    clearInterval(this.#ticker);
    for (const connection of [...this.#free, ...this.#busy]) connection.destroy();
    this.#free.length = 0;
  }

  #takeFree(): Connection | undefined {
    const nowMs = performance.now();
    // The most recently used one, so that surplus connections become idle and close.
    for (let free = this.#free.pop(); free; free = this.#free.pop()) {
      if (free.isUsable(nowMs)) return free;
      free.destroy();
    }
    return undefined;
  }

  #open(): Connection {
    const { host, hostname, port } = this.#url;
    return new Connection({
      ...this.#options,
      host: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port || 80),
      authority: host,
      released: (connection) => {
        this.#busy.delete(connection);
        if (connection.isUsable(performance.now())) this.#free.push(connection);
      },
    });
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const connection of this.#busy) {
      if (!connection.awaitsResponse) continue;
      this.#options.unanswered?.(nowMs);
      break;
    }
    for (const connection of this.#busy) connection.check(nowMs);
    while (this.#free[0] && !this.#free[0].isUsable(nowMs)) this.#free.shift()?.destroy();
    if (this.#busy.size > 0 || this.#free.length > 0) return;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }
}
