import { json as readJson } from "node:stream/consumers";
import { newRequestId } from "@cell/http";
import type { Config } from "../config.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { ConnectionPool } from "../proxy/http1/pool.ts";
import { Bulkhead, type BulkheadOptions } from "./bulkhead.ts";
import { CellHttp, SilenceError } from "./cell-http.ts";
import { CircuitBreaker, type Health } from "./circuit-breaker.ts";

/** The content of a cell's `/ready`. */
interface ReadyState {
  problems?: unknown;
  checks?: { openDoors?: unknown };
}

/** A partition of a cell. Streams have their own bulkhead, so that slow bodies and event streams do not delay the rest. */
export interface Upstream {
  readonly requests: Bulkhead;
  readonly streams: Bulkhead;
  /** Event streams and sockets; `OpenStreams` limits their number. */
  readonly events: Bulkhead;
  readonly circuit: CircuitBreaker;
}

/** Time limit of a partition's health response. */
const healthTimeoutMs = 1_000;
const unlimited = Number.POSITIVE_INFINITY;

/** The partitions by address; connections open at their first use. */
export class Upstreams {
  /** For the gateway's own requests to the cells. */
  readonly cellHttp: CellHttp;
  readonly #byUrl = new Map<string, Upstream>();
  readonly #partitions: ReadonlyMap<string, string>;
  readonly #config: Config;
  readonly #metrics: GatewayMetrics;

  constructor(config: Config, metrics: GatewayMetrics) {
    this.#config = config;
    this.#metrics = metrics;
    this.cellHttp = new CellHttp(config.timeouts.connectMs);
    this.#partitions = new Map(config.cells.flatMap(({ name, urls }) => urls.map((url, index) => [url, `${name}-${index + 1}`])));
  }

  get(url: string): Upstream {
    let upstream = this.#byUrl.get(url);
    if (!upstream) {
      upstream = this.#open(url);
      this.#byUrl.set(url, upstream);
    }
    return upstream;
  }

  /** The health of a partition, probed on a new connection, since the open ones may be broken. */
  async healthOf(url: string, timeoutMs = healthTimeoutMs): Promise<Health> {
    try {
      const response = await this.cellHttp.send(url, { path: "/health", silentMs: timeoutMs });
      response.destroy();
      return response.statusCode === 200 ? "alive" : "away";
    } catch (error) {
      return error instanceof SilenceError ? "silent" : "away";
    }
  }

  /** The problems that a partition reports while it serves, and its number of unrevoked functions; empty if it does not respond. */
  async stateOf(url: string): Promise<{ problems: string[]; openDoors: number }> {
    try {
      const headers = { "x-request-id": newRequestId() };
      const response = await this.cellHttp.send(url, { path: "/ready", headers, silentMs: healthTimeoutMs });
      const { message, details, ...said } = (await readJson(response)) as { message?: unknown; details?: ReadyState } & ReadyState;
      const { problems, checks } = details ?? said;
      // A process that is alive and not ready gives the reason in its error.
      const reasons = [response.statusCode === 200 ? undefined : message, ...(Array.isArray(problems) ? problems : [])];
      return {
        problems: reasons.filter((reason) => typeof reason === "string"),
        openDoors: Number.isInteger(checks?.openDoors) ? Number(checks?.openDoors) : 0,
      };
    } catch {
      return { problems: [], openDoors: 0 };
    }
  }

  /** Destroys all connections. */
  close(): void {
    this.cellHttp.close();
    for (const { circuit, ...bulkheads } of this.#byUrl.values()) {
      circuit.stop();
      for (const bulkhead of Object.values(bulkheads)) bulkhead.pool.destroy();
    }
  }

  #open(url: string): Upstream {
    const { requests, streams, tenantConcurrency } = this.#config.bulkheads;
    const partition = this.#partitions.get(url) ?? new URL(url).host;
    this.#metrics.circuitOpen.set({ partition }, 0);
    const { headersMs } = this.#config.timeouts;
    const circuit = new CircuitBreaker({
      probe: (timeoutMs) => this.healthOf(url, timeoutMs),
      responseMs: headersMs,
      changed: (open) => {
        this.#metrics.circuitOpen.set({ partition }, open ? 1 : 0);
        // The longer time limit of slow routes is only for a working partition.
        if (open) for (const bulkhead of [upstream.requests, upstream.streams, upstream.events]) bulkhead.pool.distrust(headersMs);
      },
    });
    const upstream = {
      requests: this.#openBulkhead(url, { limit: requests, tenantConcurrency }, circuit, partition),
      streams: this.#openBulkhead(url, { limit: streams, tenantConcurrency: unlimited }, circuit, partition),
      events: this.#openBulkhead(url, { limit: unlimited, tenantConcurrency: unlimited }, circuit, partition),
      circuit,
    };
    return upstream;
  }

  #openBulkhead(
    url: string,
    sizes: Pick<BulkheadOptions, "limit" | "tenantConcurrency">,
    circuit: CircuitBreaker,
    partition: string,
  ): Bulkhead {
    const { timeouts, bulkheads } = this.#config;
    const pool = new ConnectionPool(url, {
      connectMs: timeouts.connectMs,
      bodyIdleMs: timeouts.bodyIdleMs,
      unanswered: (nowMs) => circuit.watch(nowMs),
    });
    const tenantLimit = Math.max(1, Math.floor((sizes.limit * bulkheads.tenantPercent) / 100)) || unlimited;
    return new Bulkhead({ ...sizes, pool, circuit, partition, tenantLimit, metrics: this.#metrics });
  }
}
