import { Connection, type ResponseHandler, type UpstreamRequest } from "./connection.ts";

export interface PoolOptions {
  /** To connect, in ms. */
  connectMs: number;
  /** Between two pieces of an answer, in ms. */
  bodyIdleMs: number;
  /** Called at each look at the connections while a cell owes an answer. */
  unanswered?(nowMs: number): void;
}

/** How exactly times are kept, in ms: one look at all connections costs less than a timer for each request. */
const tickMs = 50;

/** Connections to one cell. As many as there are requests at once: how many that may be is decided before. */
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

  /** Sends a request on a free connection or a new one. Returns it: it can be paused, and be destroyed when the caller has left. */
  send(request: UpstreamRequest, handler: ResponseHandler): Connection {
    const connection = this.#takeFree() ?? this.#open();
    this.#busy.add(connection);
    this.#ticker ??= setInterval(() => this.#tick(), tickMs).unref();
    connection.send(request, handler);
    return connection;
  }

  /** Connections may be dead without having ended: closes those that are free, and gives awaited answers no more than this time. */
  distrust(headersMs: number): void {
    for (const connection of this.#free.splice(0)) connection.destroy();
    for (const connection of this.#busy) connection.shorten(headersMs);
  }

  /** Ends all connections. */
  destroy(): void {
    clearInterval(this.#ticker);
    for (const connection of [...this.#free, ...this.#busy]) connection.destroy();
    this.#free.length = 0;
  }

  #takeFree(): Connection | undefined {
    const nowMs = performance.now();
    // The one used last: those that nobody needs grow old and go.
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
