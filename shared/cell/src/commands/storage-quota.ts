import type { Registry, Tenant } from "@cell/postgres";
import { Problem } from "@cell/problem";
import type { RequestContext } from "../http/endpoint.ts";

/** A measurement is valid for this time, unless writes since then come near the quota. */
const measuredForMs = 60_000;
/** Minimum interval of measurements for a tenant near or past its quota. */
const measuredAgainMs = 1_000;
/** Estimated stored bytes per received byte: row, index entries, audit trail and stored response. */
const storedPerReceived = 8;
/** Assumed size of a request of unknown length. */
const unknownBytes = 64 * 1024;

interface Measurement {
  bytes: number;
  atMs: number;
  /** Bytes received since the measurement. */
  received: number;
}

/** Enforces the storage quota of tenants' tables and indexes. It measures now and then instead of at each write: see docs/limits.md. */
export class StorageQuota {
  readonly #registry: Pick<Registry, "storedBytes">;
  readonly #measured = new WeakMap<Tenant, Measurement>();
  readonly #measuring = new WeakMap<Tenant, Promise<Measurement>>();

  constructor(registry: Pick<Registry, "storedBytes">) {
    this.#registry = registry;
  }

  /** Throws PAYLOAD_TOO_LARGE if the tenant is past its quota. */
  async assertRoom({ tenant, caller, bytes, context }: RequestContext): Promise<void> {
    const { quotaBytes } = caller;
    if (quotaBytes === undefined) return;
    const known = this.#measured.get(tenant);
    const ageMs = known ? performance.now() - known.atMs : Number.POSITIVE_INFINITY;
    const isNear = known !== undefined && known.bytes + known.received * storedPerReceived > quotaBytes;
    const isStale = known === undefined || (isNear && ageMs > measuredAgainMs);
    const measurement = isStale ? await this.#measure(tenant) : known;
    // In the background: after a failure the older figure stays, and the next write tries again.
    if (!isStale && ageMs > measuredForMs) this.#measure(tenant).catch(() => undefined);
    if (measurement.bytes > quotaBytes) throw full(measurement.bytes, quotaBytes);
    measurement.received += bytes?.length ?? (Number(context.env.incoming.headers["content-length"]) || unknownBytes);
  }

  #measure(tenant: Tenant): Promise<Measurement> {
    const running = this.#measuring.get(tenant);
    if (running) return running;
    const measuring = this.#registry
      .storedBytes(tenant.tenantId)
      .then((bytes) => {
        const measurement = { bytes, atMs: performance.now(), received: 0 };
        this.#measured.set(tenant, measurement);
        return measurement;
      })
      .finally(() => this.#measuring.delete(tenant));
    this.#measuring.set(tenant, measuring);
    return measuring;
  }
}

function full(usedBytes: number, quotaBytes: number): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", "The tenant's storage quota is used up; ask the operator for a larger one", {
    details: { reason: "QUOTA", usedBytes, quotaBytes },
  });
}
