import { type ReaderRate, sendStream } from "@cell/http";
import { KeyedSemaphore } from "@cell/postgres";
import { Problem, unavailable } from "@cell/problem";
import type { RequestContext } from "../http/endpoint.ts";

/** Limits of files that are read from the database while they are sent: each holds a connection until its client has all of it. */
export interface FileLimits extends ReaderRate {
  /** Concurrent files of one tenant. */
  perTenant: number;
  /** Concurrent files of all tenants. */
  inAll: number;
}

export const fileLimits: FileLimits = { perTenant: 4, inAll: 60, bytesPerSecond: 16 * 1024, windowMs: 30_000 };

/** A CSV file to send. */
export interface CsvFile {
  name: string;
  /** Its pieces; `signal` aborts when the client has left. */
  pieces(signal: AbortSignal): AsyncIterable<string | Uint8Array>;
}

/** Gateways time out without a response head; an error before it is still sent as an error response. */
const headAfterMs = 2_000;
const retryAfterSeconds = 10;
const everyTenant = "";

/** Sends files: limits their number, and cuts off slow clients. */
export class Files {
  readonly #limits: FileLimits;
  readonly #ofTenant: KeyedSemaphore;
  readonly #ofAll: KeyedSemaphore;

  constructor(limits: FileLimits = fileLimits) {
    this.#limits = limits;
    this.#ofTenant = new KeyedSemaphore(limits.perTenant);
    this.#ofAll = new KeyedSemaphore(limits.inAll);
  }

  /** Rejects with RATE_LIMITED if the tenant has too many files in progress, UNAVAILABLE if all tenants together have. */
  async send(context: RequestContext, headers: Record<string, string>, { name, pieces }: CsvFile): Promise<Response> {
    const release = this.#admit(context.tenant.tenantId);
    const { outgoing } = context.context.env;
    const left = new AbortController();
    outgoing.once("close", () => left.abort());
    const fileHeaders = {
      ...headers,
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="${name}"`,
    };
    try {
      return await sendStream(outgoing, 200, fileHeaders, pieces(left.signal), { rate: this.#limits, headAfterMs });
    } finally {
      release();
    }
  }

  #admit(tenantId: string): () => void {
    const ofTenant = this.#ofTenant.tryAcquire(tenantId);
    if (!ofTenant) {
      const message = `This tenant has ${this.#limits.perTenant} files in progress, which is its limit; try again when one has ended`;
      throw new Problem("RATE_LIMITED", message, { headers: { "retry-after": String(retryAfterSeconds) } });
    }
    const ofAll = this.#ofAll.tryAcquire(everyTenant);
    if (!ofAll) {
      ofTenant();
      throw unavailable("Too many files are in progress; try again", retryAfterSeconds);
    }
    return () => {
      ofTenant();
      ofAll();
    };
  }
}
